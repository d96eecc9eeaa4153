/** A data plane without a gateway, as tests of ports and of the bridge want it. */
import { counterMemory } from '../../src/dataplane/counters.ts';
import { Dataplane, type DataplaneOptions } from '../../src/dataplane/dataplane.ts';
import { fdbMemory } from '../../src/dataplane/fdb.ts';

/** `maxMacs`: addresses that it can learn; `onGone`: told of ports that end. */
export const plainPlane = (
  maxMacs: number,
  onGone: DataplaneOptions['onGone'] = () => undefined,
  stormLimit?: DataplaneOptions['stormLimit'],
): Dataplane =>
  new Dataplane({
    fdbMemory: fdbMemory(maxMacs),
    counterMemory: counterMemory(),
    maxMacs,
    ageingS: 300,
    seed: 1,
    uplink: -1,
    stormLimit,
    onGone,
  });
