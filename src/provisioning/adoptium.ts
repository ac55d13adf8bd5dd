import Joi from 'joi';
import type { Platform } from '#src/domain/javaRuntimes.js';
import { sha256Hex } from './shapes.js';
import type { Upstream } from './upstream.js';

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

/** Half a gigabyte is more than twice the largest JDK. */
const PACKAGE_BYTES_MAX = 512 * 1024 * 1024;

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

interface Build {
  binary: { package: { link: string; size: number; checksum: string } };
}
const buildsSchema = Joi.array()
  .items<Build>(
    Joi.object<Build>({
      binary: Joi.object({
        package: Joi.object({
          link: Joi.string().uri().required(),
          size: Joi.number().integer().min(1).max(PACKAGE_BYTES_MAX).required(),
          checksum: sha256Hex().required(),
        }).required(),
      }).required(),
    }),
  )
  .required();

/**
 * The newest Temurin of a major version, by the Adoptium API v3: GET /v3/assets/latest/{feature}/hotspot, a list of the
 * builds that match, empty when none does. https://api.adoptium.net/q/swagger-ui
 */
export function createFindJava(adoptium: Upstream): FindJava {
  return async (major, { os, arch }, signal) => {
    const architecture = ARCHITECTURES.get(arch);
    if (architecture === undefined) return null;
    for (const image_type of IMAGE_TYPES) {
      const query = new URLSearchParams({ architecture, image_type, os, vendor: 'eclipse' }).toString();
      const url = `${adoptium.url('v3', 'assets', 'latest', String(major), 'hotspot')}?${query}`;
      const [build] = (await adoptium.json(url, buildsSchema, { signal })) ?? [];
      if (build) {
        const { link, checksum, size } = build.binary.package;
        return { url: link, sha256: checksum, size };
      }
    }
    return null;
  };
}
