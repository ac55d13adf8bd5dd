import type { CrashCause, ServerState } from '#proto/gen/agent.js';
import type { LastCrash } from '#src/db/types.js';
import { crashCodeOf, isCrashCode } from '#src/domain/crash.js';

const MAX_TEXT = 500;
const MAX_EVIDENCE = 20;

/** What an agent tells of a crash, within our bounds; undefined: it does not know the server at all. */
export function crashOf(state: ServerState | undefined, now = new Date()): LastCrash {
  const exitCode = state?.exitCode ?? null;
  return {
    run_id: state?.runId ?? '',
    exit_code: exitCode,
    at: timeOf(state, now).toISOString(),
    ...guessOf(state, exitCode),
    ...(state?.cause && causeOf(state.cause)),
  };
}

type Cause = Pick<LastCrash, 'code' | 'detail' | 'evidence' | 'report_path'>;

function causeOf({ code, detail, evidence, reportPath }: CrashCause): Cause {
  return {
    code: isCrashCode(code) ? code : 'exit-code',
    detail: bounded(detail),
    evidence: evidence.slice(-MAX_EVIDENCE).map(bounded),
    report_path: bounded(reportPath) || null,
  };
}

/** Agents before causes were told. */
function guessOf(state: ServerState | undefined, exitCode: number | null): Cause {
  const unseen = state ? 'Nobody saw it end' : 'Its agent knows nothing of it any more';
  const detail = exitCode === null ? unseen : `It ended by itself with code ${exitCode}`;
  return { code: crashCodeOf(exitCode), detail, evidence: [], report_path: null };
}

/** Its agent's clock, but never the future. */
function timeOf(state: ServerState | undefined, now: Date): Date {
  const endedAt = state?.endedAtMs ?? 0;
  return endedAt > 0 && endedAt < now.getTime() ? new Date(endedAt) : now;
}

/** `jsonb` takes neither NUL nor half a character. */
function bounded(text: string): string {
  return Buffer.from(text.replaceAll('\0', '').slice(0, MAX_TEXT)).toString();
}
