/** What a Minecraft version that we can't read gets: the newest that most servers of today ask for. */
const FALLBACK = 21;

/** First Minecraft version of the `1.` line that needs this Java, newest first. */
const CLASSIC: readonly { since: readonly [minor: number, patch: number]; java: number }[] = [
  { since: [20, 5], java: 21 },
  { since: [18, 0], java: 17 },
  { since: [17, 0], java: 16 },
  { since: [0, 0], java: 8 },
];

/**
 * The lowest Java major that runs a Minecraft server of this version. Total: releases of the `1.` line, year-based
 * ones (26.1 and later) and their pre-releases are known; weekly snapshots and anything else get the fallback.
 *
 * Source: the `javaVersion.majorVersion` of Mojang's version manifests.
 */
export function requiredJavaMajor(minecraftVersion: string): number {
  const parts = /^(\d+)\.(\d+)(?:\.(\d+))?(?![\d.])/.exec(minecraftVersion);
  if (!parts) return FALLBACK;
  const [major, minor, patch] = [Number(parts[1]), Number(parts[2]), Number(parts[3] ?? 0)];
  if (major >= 26) return 25;
  if (major !== 1) return FALLBACK;
  const line = CLASSIC.find(({ since }) => minor > since[0] || (minor === since[0] && patch >= since[1]));
  return line?.java ?? FALLBACK;
}

/**
 * Whether a server breaks on any newer Java than the lowest that runs it: Forge before Minecraft 1.17 does, as it takes the
 * insides of the JVM for what they were in Java 8.
 */
export function refusesNewerJava(serverType: string, minecraftVersion: string): boolean {
  return serverType === 'forge' && requiredJavaMajor(minecraftVersion) === 8;
}
