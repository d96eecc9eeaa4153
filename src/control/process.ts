/** What the process costs, under the names that all programs' figures have, and what was built. */
import { readdirSync } from 'node:fs';
import { commonCounter, commonGauge, type Family, gauge, one } from './exposition.ts';

const STARTED_S = Date.now() / 1000 - process.uptime();

export function processFamilies(version: string): Family[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return [
    gauge('build_info', 'What was built and runs: always 1.', [
      [{ version, node: process.versions.node, arch: process.arch }, 1],
    ]),
    commonCounter(
      'process_cpu_seconds_total',
      'CPU time of all threads, user and system.',
      one((user + system) / 1e6),
    ),
    commonGauge('process_resident_memory_bytes', 'Memory of the process that is in RAM.', one(rss)),
    commonGauge('process_start_time_seconds', 'Unix time when the process started.', one(STARTED_S)),
    commonGauge(
      'process_open_fds',
      "Files that are open, but for those of the data plane's thread alone.",
      one(openFiles()),
    ),
    commonGauge('nodejs_heap_size_used_bytes', "The control thread's JavaScript heap in use.", one(heapUsed)),
  ];
}

/** The one by which they are listed is not meant. Not a number when there are so many that they can't be listed. */
function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return Number.NaN;
  }
}
