// What a run was told, and where its parts are.
import { execFileSync } from 'node:child_process';

const env = process.env;

export const WORK = env.WORK;
export const BIN = execFileSync(env.PG_CONFIG, ['--bindir'], { encoding: 'utf8' }).trim();
export const SHARE = execFileSync(env.PG_CONFIG, ['--sharedir'], { encoding: 'utf8' }).trim();
export const SCALE = Number(env.BENCH_SCALE || 1);
export const RUNS = Number(env.BENCH_RUNS || 5);
export const STATEMENTS = env.BENCH_STATEMENTS === '1';
/** Further settings of every database, for experiments: "a=b;c=d". */
export const SETTINGS = Object.fromEntries((env.BENCH_SETTINGS || '').split(';').filter(Boolean).map((pair) => pair.split('=')));
export const FAL_KEY = 'bench:secret';
export const MODEL = 'fal-ai/minimax/video-01';

/** A count of the specification, or its share in a short run. */
export function scaled(count, least = 1) {
  return Math.max(least, Math.round(count * SCALE));
}
