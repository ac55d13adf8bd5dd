import type { Capabilities } from './capabilities.js';

/** Which Java a server needs. */
export interface JavaWish {
  major: number;
  /** Exactly that one, else that one or newer. */
  pinned: boolean;
}

/** Whether the agent, as it was last heard, has a Java for that. */
export function hasJava(capabilities: Capabilities, { major, pinned }: JavaWish): boolean {
  return majorsOf(capabilities).some(known => (pinned ? known === major : known >= major));
}

function majorsOf(capabilities: Capabilities): number[] {
  const runtimes: unknown = capabilities?.['java_runtimes'];
  if (!Array.isArray(runtimes)) return [];
  return runtimes.flatMap((runtime: unknown) =>
    typeof runtime === 'object' && runtime !== null && 'major' in runtime && typeof runtime.major === 'number'
      ? [runtime.major]
      : [],
  );
}

/** What a program must be built for to run on an agent. */
export interface Platform {
  os: 'linux' | 'alpine-linux';
  /** As Node names it. */
  arch: string;
}

/** Null for an agent that does not say. Alpine's programs are built for another C library, and no others run there. */
export function platformOf(os: string | null, capabilities: Capabilities): Platform | null {
  const arch: unknown = capabilities?.['arch'];
  if (typeof arch !== 'string' || arch === '') return null;
  return { os: /^alpine/i.test(os ?? '') ? 'alpine-linux' : 'linux', arch };
}
