import type { AgentAddress } from './gateway.js';

/** The columns of an `agents` row that say how to reach it. */
export interface AgentAddressRow {
  id: string;
  /** An `inet`: Postgres may write the prefix length too, as in `10.0.0.1/32`. */
  ip_address: string;
  port: number;
  tls_mode: AgentAddress['tls_mode'];
  tls_fingerprint: string | null;
  /** Sealed; null when the agent asks for none. */
  token: string | null;
  work_dir?: string | null;
}

/** Pure but for `openToken`, which unseals the column and throws when the row was sealed with another key. */
export function agentAddress(row: AgentAddressRow, openToken: (sealed: string) => string): AgentAddress {
  const [host = row.ip_address] = row.ip_address.split('/', 1);
  return {
    id: row.id,
    host,
    port: row.port,
    tls_mode: row.tls_mode,
    tls_fingerprint: row.tls_fingerprint === null ? null : normalFingerprint(row.tls_fingerprint),
    token: row.token === null ? null : openToken(row.token),
    work_dir: row.work_dir ?? null,
  };
}

/** SHA-256 as people paste it (`AB:CD…`, `sha256:abcd…`) → lower-case hex. */
export function normalFingerprint(fingerprint: string): string {
  return fingerprint
    .trim()
    .toLowerCase()
    .replace(/^sha-?256[:=]/, '')
    .replaceAll(':', '');
}
