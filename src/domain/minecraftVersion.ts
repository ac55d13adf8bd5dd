/** Pre-releases by how near they are to their release; what has another suffix stands before them. */
const STAGES = ['snapshot', 'pre', 'rc'];

/** Whether the id is that of a release: `1.21.11` and `26.1.2`, not `1.21.11-rc3`, `26.3-snapshot-3` or `24w14a`. */
export function isRelease(version: string): boolean {
  return /^\d+(\.\d+)+$/.test(version);
}

/**
 * Orders ids from the oldest to the newest, for lists that their upstream leaves unordered. Total; says nothing about
 * weekly snapshots and names, which stand before every numbered version.
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parts(a), parts(b)];
  for (let at = 0; at < Math.max(left.numbers.length, right.numbers.length); at++) {
    const difference = (left.numbers[at] ?? 0) - (right.numbers[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return left.stage - right.stage || left.suffix.localeCompare(right.suffix, 'en', { numeric: true });
}

function parts(version: string): { numbers: number[]; stage: number; suffix: string } {
  const [, dotted, suffix = version] = /^(\d+(?:\.\d+)+)(.*)$/.exec(version) ?? [];
  const stage = suffix === '' ? STAGES.length : STAGES.findIndex(name => suffix.includes(name));
  return { numbers: dotted?.split('.').map(Number) ?? [], stage, suffix };
}
