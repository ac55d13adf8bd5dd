import { AppError } from '#src/domain/errors.js';
import type { Platform } from '#src/domain/javaRuntimes.js';

/** A Java runtime to download: a tar.gz with one folder in it. */
export interface JavaDownload {
  url: string;
  /** Lower-case hex. */
  sha256: string;
  /** Bytes. */
  size: number;
}

/** Null when there is none for that platform. Rejects with `upstream-failed` when nobody can be asked. */
export type FindJava = (
  major: number,
  platform: Platform,
  signal?: AbortSignal,
) => Promise<JavaDownload | null>;

export interface AdoptiumDeps {
  /** ADOPTIUM_URL */
  baseUrl: string;
}

const TIMEOUT_MS = 10_000;
/** One build is asked for, of some 2 KiB. */
const ANSWER_BYTES_MAX = 256 * 1024;
/** Half a gigabyte is more than twice the largest JDK. */
const PACKAGE_BYTES_MAX = 512 * 1024 * 1024;
const USER_AGENT = 'AYMC';

/** Smaller first; not every version has both. */
const IMAGE_TYPES = ['jre', 'jdk'] as const;

/** Node's names of processors, in Adoptium's words. */
const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x64', 'x64'],
  ['arm64', 'aarch64'],
  ['arm', 'arm'],
  ['ppc64', 'ppc64le'],
  ['s390x', 's390x'],
  ['riscv64', 'riscv64'],
]);

/**
 * The newest Temurin of a major version, by the Adoptium API v3: GET /v3/assets/latest/{feature}/hotspot, a list of the
 * builds that match, empty when none does. https://api.adoptium.net/q/swagger-ui
 */
export function createFindJava({ baseUrl }: AdoptiumDeps): FindJava {
  return async (major, { os, arch }, signal) => {
    const architecture = ARCHITECTURES.get(arch);
    if (architecture === undefined) return null;
    for (const image_type of IMAGE_TYPES) {
      const query = new URLSearchParams({ architecture, image_type, os, vendor: 'eclipse' }).toString();
      const url = `${baseUrl.replace(/\/+$/, '')}/v3/assets/latest/${major}/hotspot?${query}`;
      const found = packageOf(await getJson(url, signal));
      if (found) return found;
    }
    return null;
  };
}

/** `[{ binary: { package: { link, size, checksum } } }]`. */
function packageOf(builds: unknown): JavaDownload | null {
  if (!Array.isArray(builds)) throw failed('did not send a list of builds');
  const build: unknown = builds[0];
  if (build === undefined) return null;
  const { link, size, checksum } = recordAt(recordAt(build, 'binary'), 'package');
  if (typeof link !== 'string' || !URL.canParse(link)) throw failed('sent a build without a link');
  if (typeof checksum !== 'string' || !/^[0-9a-f]{64}$/i.test(checksum))
    throw failed('sent a build without a sha256');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size <= 0 || size > PACKAGE_BYTES_MAX)
    throw failed('sent a build without a size that can be');
  return { url: link, sha256: checksum.toLowerCase(), size };
}

function recordAt(value: unknown, key: string): Record<string, unknown> {
  const child = isRecord(value) ? value[key] : undefined;
  if (!isRecord(child)) throw failed(`sent a build without a ${key}`);
  return child;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function getJson(url: string, signal: AbortSignal | undefined): Promise<unknown> {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const answer = await fetch(url, {
      headers: { accept: 'application/json', 'user-agent': USER_AGENT },
      signal: signal ? AbortSignal.any([limit, signal]) : limit,
    });
    const text = await readText(answer);
    if (answer.status !== 200) throw failed(`answered ${answer.status}`);
    const json: unknown = JSON.parse(text);
    return json;
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof AppError) throw error;
    throw failed(limit.aborted ? 'did not answer in time' : 'could not be reached or read', error);
  }
}

async function readText({ body }: Response): Promise<string> {
  if (!body) return '';
  const stream: AsyncIterable<Uint8Array> = body;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw failed('sent more than such an answer has');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function failed(what: string, cause?: unknown): AppError {
  return new AppError('upstream-failed', { detail: `Adoptium ${what}`, cause });
}
