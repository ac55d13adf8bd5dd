import Joi from 'joi';
import { anyText, boolean, integer, named, time } from '../fields.js';

/** Of any letters, percent-encoded, it fits into the 16 KiB that a request's head may have. */
const path = () => Joi.string().max(1000).example('plugins/Essentials/config.yml');
const etag = () => Joi.string().max(1000);

export interface FolderQuery {
  path?: string;
}
export const folder = Joi.object<FolderQuery>({
  path: path().allow('').example('plugins').description('Absent: the server’s folder itself'),
});

export interface FileQuery {
  path: string;
}
export const file = Joi.object<FileQuery, true>({ path: path().required() });

export interface ReadHeaders {
  'If-None-Match'?: string;
  'If-Range'?: string;
  Range?: string;
}
export const readHeaders = Joi.object<ReadHeaders>({
  'If-None-Match': etag(),
  'If-Range': etag(),
  Range: Joi.string().max(1000).description('One range of bytes; several are answered with the whole file'),
});

export interface WriteHeaders {
  'If-Match'?: string;
  'If-None-Match'?: string;
}
export const writeHeaders = Joi.object<WriteHeaders>({
  'If-Match': etag().description('Only over this file'),
  'If-None-Match': Joi.string().valid('*').description('Only where there is none'),
});

export interface IfNoneMatch {
  'If-None-Match'?: string;
}
export const onlyNew = Joi.object<IfNoneMatch>({
  'If-None-Match': Joi.string().valid('*').description('Over no file that is there already'),
});
export const ifNoneMatch = Joi.object<IfNoneMatch>({ 'If-None-Match': etag() });

export interface NewFolder {
  path: string;
  type: 'directory';
}
export const newFolder = Joi.object<NewFolder, true>({
  path: path().required().example('plugins/Essentials'),
  type: Joi.string().valid('directory').required(),
});

export interface Renaming {
  from: string;
  to: string;
}
export const renaming = Joi.object<Renaming, true>({
  from: path().required().example('world'),
  to: path().required().example('world-old'),
});

export interface RawQuery {
  raw?: boolean;
}
/** `?raw` alone is true, too. */
export const raw = Joi.object<RawQuery>({
  raw: Joi.boolean().truthy('', '1').falsy('0').description('The text of the file as it is'),
});

export type Properties = Record<string, string>;
export type PropertyInput = Record<string, string | number | boolean | null>;

export const properties = named(
  'ServerProperties',
  Joi.object<Properties>().pattern(Joi.string(), anyText()).example({ motd: 'Hello', 'max-players': '20' }),
);
export const propertyChanges = Joi.object<PropertyInput>()
  .pattern(
    Joi.string().max(1000),
    Joi.alternatives(anyText().max(65_536), Joi.number().strict(), boolean()).allow(null),
  )
  .max(1000)
  .description('Partial: keys that are not named stay, null removes one')
  .example({ motd: 'Hello', pvp: false });

const view = {
  name: anyText().required().example('config.yml'),
  path: anyText().required().example('plugins/Essentials/config.yml'),
  type: Joi.string().valid('file', 'directory', 'symlink', 'other').required(),
  size: integer().required().description('Bytes; 0 for what is not a file'),
  is_dir: boolean().required().example(false),
  modified_at: time().required(),
  permissions: Joi.string().required().example('0644'),
  etag: anyText().allow(null).required().description('For If-Match; null where it is not known'),
};

export const entry = named('FileEntry', Joi.object(view));
export const entries = Joi.array().items(entry);
export const stored = named(
  'StoredFile',
  Joi.object({
    ...view,
    sha256: Joi.string()
      .pattern(/^[0-9a-f]{64}$/)
      .allow(null)
      .required()
      .description('Of what was stored; null for a folder')
      .example('9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'),
  }),
);
export const storedFiles = Joi.array().items(stored);

export interface ConfigFileQuery {
  path: string;
}
export const configFile = Joi.object<ConfigFileQuery, true>({
  path: path().required().example('spigot.yml', { override: true }),
});

const configRoot = () =>
  Joi.alternatives(Joi.object().unknown(true), Joi.array().items(Joi.any())).example({
    settings: { 'save-user-cache-on-stop-only': false },
  });
export const config = named('Config', configRoot().description('What the file holds'));
export const configChange = configRoot().description('Merged into the file; a list replaces its list');
