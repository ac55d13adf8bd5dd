import { onPath } from '#processes/dev/tools.js';
import { requireJdk, requireMaven } from '../harness/java.js';
import { minecraftJavaMajor } from '../harness/minecraftJar.js';

/** The agent's own tools, both of util-linux: nothing runs a Minecraft server without them. */
const TOOLS = ['flock', 'setpriv'];

/** One line for each thing that tests need and this machine lacks. */
export async function missingPrerequisites(): Promise<string[]> {
  const complaints = await Promise.all([
    complaintOf(requireJdk(minecraftJavaMajor)),
    complaintOf(requireMaven()),
    ...TOOLS.map(async tool =>
      (await onPath(tool)) === undefined ? `${tool} is missing (package util-linux)` : undefined,
    ),
  ]);
  return complaints.filter(complaint => complaint !== undefined);
}

function complaintOf(search: Promise<unknown>): Promise<string | undefined> {
  return search.then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}
