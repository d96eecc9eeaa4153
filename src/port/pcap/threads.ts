/** Starts the threads that have the files of recordings and replays. */
import { Worker } from 'node:worker_threads';
import type { RecorderSettings } from './recorder.ts';
import type { ReplayerSettings } from './replayer.ts';

export const startRecorder = (workerData: RecorderSettings): Worker =>
  new Worker(new URL('./recorder.js', import.meta.url), { workerData });

export const startReplayer = (workerData: ReplayerSettings): Worker =>
  new Worker(new URL('./replayer.js', import.meta.url), { workerData });
