/** The data plane of a switch, with the flows that one before it has left, and who keeps them. */
import { randomBytes } from 'node:crypto';
import type { Config } from './config.ts';
import { type GatewaySettings, UPLINK_PORT } from './dataplane/messages.ts';
import { Plane } from './dataplane/plane.ts';
import { FlowKeeper, readFlows } from './flowfile.ts';
import type { Log } from './log.ts';

export interface PlaneParts {
  readonly config: Config;
  readonly gateway: GatewaySettings;
  readonly log: Log;
  /** Are flows of a killed switch to be gone on with? */
  readonly restores: boolean;
  portName(index: number): string;
  /** It has ended by itself, and can't be started again. */
  failed(cause: Error): void;
}

/** A plane that runs. */
export interface StartedPlane {
  readonly plane: Plane;
  /** From now on its flows are kept on disk, and the file that is there is its own. */
  keep(): void;
  end(): Promise<void>;
}

export function startPlane(parts: PlaneParts): StartedPlane {
  const { config, log } = parts;
  const { kind } = config.uplink;
  const routes = kind !== 'bridge';
  const plane = new Plane({
    maxMacs: config.maxMacs,
    portMacs: config.portMacs?.max,
    stormLimit: config.stormLimit,
    ageingS: config.ageingS,
    uplink: kind === 'tun' || kind === 'passt' ? UPLINK_PORT : -1,
    routes,
    seed: randomBytes(4).readInt32LE(),
    gateway: parts.gateway,
    flows: routes && parts.restores ? readFlows(config) : undefined,
  });
  plane.on('revived', (cause, served) => {
    const at = served < 0 ? 'at no frame' : `at a frame of ${parts.portName(served)}`;
    log.error({ err: cause }, `the data plane has died, ${at}, and was started again`);
  });
  plane.on('failed', cause => parts.failed(cause));
  let keeper: FlowKeeper | undefined;
  return {
    plane,
    keep() {
      if (routes) keeper = new FlowKeeper(config, plane.memory.flows, sentence => log.warn(sentence));
    },
    async end() {
      await plane.stop();
      await keeper?.close();
    },
  };
}
