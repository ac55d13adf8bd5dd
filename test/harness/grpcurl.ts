import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultCacheDir, firstWritable, runTool } from '#processes/dev/tools.js';

const MODULE = 'github.com/fullstorydev/grpcurl/cmd/grpcurl';
const VERSION = 'v1.9.3';
const PROTO = fileURLToPath(new URL('../../proto', import.meta.url));
const INSTALL_TIMEOUT_MS = 5 * 60_000;

/**
 * The grpcurl of the pinned release: a cached one, or one that Go builds now; Go checks the module against its checksum
 * database. Nothing is installed outside the cache. Rejects where there is no Go, or no module proxy.
 */
export async function findGrpcurl(): Promise<string> {
  const cache = firstWritable([defaultCacheDir()]);
  const place = join(cache, `grpcurl-${VERSION}`);
  if (existsSync(place)) return place;
  const work = mkdtempSync(join(cache, 'fetch-'));
  try {
    await runTool('go', ['install', '-modcacherw', `${MODULE}@${VERSION}`], {
      timeoutMs: INSTALL_TIMEOUT_MS,
      cwd: work,
      env: {
        ...process.env,
        // Where Go's own archive puts it, also where no login shell has said so.
        PATH: `${process.env['PATH'] ?? ''}:/usr/local/go/bin`,
        CGO_ENABLED: '0',
        GOPATH: join(work, 'go'),
        GOBIN: work,
      },
    });
    renameSync(join(work, 'grpcurl'), place);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return place;
}

export interface GrpcurlCall {
  /** What `findGrpcurl` answered. */
  program: string;
  port: number;
  /** File with the PEM that the server must show. */
  caFile: string;
  headers: Record<string, string>;
  /** One, or several for a stream of requests. */
  messages?: readonly object[];
  rpc: string;
}

/** What grpcurl prints; rejects with its complaint, which begins with the status. */
export async function runGrpcurl(call: GrpcurlCall): Promise<string> {
  const headers = Object.entries(call.headers).flatMap(([key, value]) => ['-H', `${key}: ${value}`]);
  const messages = (call.messages ?? [{}]).map(message => JSON.stringify(message)).join('\n');
  const proto = ['-import-path', PROTO, '-proto', 'agent.proto'];
  const tls = ['-cacert', call.caFile, '-servername', 'localhost'];
  const args = [...tls, ...proto, ...headers, '-max-time', '10', '-d', messages];
  const target = [`127.0.0.1:${call.port}`, `agent.AgentService/${call.rpc}`];
  return runTool(call.program, [...args, ...target], { timeoutMs: 15_000 });
}
