import { isJsonRecord, textOf } from '../files.js';

/** What `java` is started with, relative to the server's folder: a jar, or a file of arguments as new Forges have. */
export type StartFile = { readonly jarFile: string } | { readonly argsFile: string };

export function pathOf(startFile: StartFile): string {
  return 'jarFile' in startFile ? startFile.jarFile : startFile.argsFile;
}

/** What stands for it on the command line, after the JVM's own arguments and before the server's. */
export function startArguments(startFile: StartFile): string[] {
  return 'jarFile' in startFile ? ['-jar', startFile.jarFile] : [`@${startFile.argsFile}`];
}

/** Of our own records; undefined when it is none. */
export function parseStartFile(value: unknown): StartFile | undefined {
  if (!isJsonRecord(value)) return undefined;
  const jarFile = textOf(value, 'jarFile');
  if (jarFile !== undefined) return { jarFile };
  const argsFile = textOf(value, 'argsFile');
  return argsFile === undefined ? undefined : { argsFile };
}
