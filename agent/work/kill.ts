import { killRun } from './stop.js';
import type { StepContext } from './step.js';

/** SIGKILL of the whole process group, at once; done when it is gone, at once when nothing runs. */
export async function killServer(context: StepContext): Promise<void> {
  const { server } = context;
  await server.look();
  if (!server.alive) return;
  context.report({ phase: 'killing', message: 'sent SIGKILL' });
  await server.intendStop('kill');
  await killRun(server, context.uncancellable);
}
