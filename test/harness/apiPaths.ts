import { isObject } from '#src/http/jsonSchema.js';

/** The paths of an OpenAPI document: template → method in lower case → what is said about it. */
export type Paths = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export interface PathValues {
  /** What a GET of the path answers, or undefined when that is no success. */
  get: (path: string) => Promise<unknown>;
  /** Which of a collection's rows stands for all. */
  choose: (rows: readonly Record<string, unknown>[]) => Record<string, unknown> | undefined;
}

/**
 * Values for the `{parameters}` of a path, so that it leads to something that exists: each is read from the collection
 * that stands before it (`/servers` for `/servers/{id}/logs`), so routes to come need no word here. Undefined where a
 * parameter belongs to no collection, or to an empty one.
 */
export async function findPathValues(
  paths: Paths,
  template: string,
  { get, choose }: PathValues,
): Promise<Map<string, string> | undefined> {
  const values = new Map<string, string>();
  let pattern = '';
  for (const segment of template.split('/').slice(1)) {
    const name = /^\{(\w+)\}$/.exec(segment)?.[1];
    if (name !== undefined) {
      const body = paths[pattern]?.['get'] ? await get(fillPath(pattern, values)) : undefined;
      const row = choose((Array.isArray(body) ? body : []).filter(isObject));
      const value = row?.[name] ?? row?.['id'];
      if (typeof value !== 'string') return undefined;
      values.set(name, value);
    }
    pattern += `/${segment}`;
  }
  return values;
}

export function fillPath(template: string, values: ReadonlyMap<string, string>): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => values.get(name) ?? whole);
}
