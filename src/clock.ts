/** The clock that the data plane measures ages with: CLOCK_MONOTONIC, which no setting of the time moves. */

export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export const monotonicS = (): number => Number(process.hrtime.bigint() / 1_000_000_000n);
