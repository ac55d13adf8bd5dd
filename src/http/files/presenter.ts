import { FileKind, type FileFacts, type UploadedFile } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { fileNameOf } from '#src/domain/filePath.js';
import { entityTag } from './conditions.js';

const TYPES: Partial<Record<FileKind, 'file' | 'directory' | 'symlink'>> = {
  [FileKind.FILE]: 'file',
  [FileKind.FOLDER]: 'directory',
  [FileKind.LINK]: 'symlink',
};

export function presentEntry(facts: FileFacts) {
  const { path, kind, sizeBytes, modifiedMs, permissions, etag } = facts;
  return {
    name: fileNameOf(path),
    path,
    type: TYPES[kind] ?? 'other',
    size: sizeBytes,
    is_dir: kind === FileKind.FOLDER,
    modified_at: new Date(modifiedMs).toISOString(),
    permissions: permissions.toString(8).padStart(4, '0'),
    etag: etag === '' ? null : entityTag(etag),
  };
}

export type StoredView = ReturnType<typeof presentEntry> & { sha256: string | null };

export function presentStored({ facts, sha256 }: UploadedFile): StoredView {
  return { ...presentEntry(known(facts)), sha256 };
}

export function presentFolder(facts: FileFacts): StoredView {
  return { ...presentEntry(facts), sha256: null };
}

/** The wire can leave out what an agent always says. */
export function known(facts: FileFacts | undefined): FileFacts {
  if (facts === undefined)
    throw new AppError('agent-failed', { detail: 'The agent does not say which file' });
  return facts;
}
