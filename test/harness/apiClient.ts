import createClient, { type Client } from 'openapi-fetch';
import type { components, paths } from '../../docs/generated/api.js';

/** The API as the generated types know it: paths, parameters, bodies and answers are checked by the compiler. */
export type TypedClient = Client<paths>;
export type Schema<Name extends keyof components['schemas']> = components['schemas'][Name];

export function connectApi(url: string, token?: string): TypedClient {
  return createClient<paths>({
    baseUrl: url,
    ...(token !== undefined && { headers: { Authorization: `Bearer ${token}` } }),
  });
}
