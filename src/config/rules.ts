import type { Problem } from './problems.js';
import type { SettingName, Settings } from './table.js';

/** A demand that concerns several settings, or one of them in production only. */
interface Rule {
  readonly about: readonly SettingName[];
  /** What is wrong, or undefined. */
  readonly check: (settings: Settings) => string | undefined;
}

const MIN_SECRET_BYTES = 32;
const PLACEHOLDER = /change[-_ ]?(?:me|this)|your[-_ ]|example|placeholder|(.)\1{7}/i;
const KNOWN_PASSWORDS = new Set([
  'secret',
  'password',
  'postgres',
  'aymc',
  'admin',
  'admin123',
  'changeme',
  'minioadmin',
]);

const always: readonly Rule[] = [
  {
    about: ['BACKUP_STORE', 'S3_BUCKET', 'S3_ACCESS_KEY', 'S3_SECRET_KEY'],
    check: ({ storage }) => {
      if (storage.store !== 's3') return undefined;
      const missing = Object.entries({
        S3_BUCKET: storage.s3Bucket,
        S3_ACCESS_KEY: storage.s3AccessKey,
        S3_SECRET_KEY: storage.s3SecretKey,
      }).flatMap(([name, given]) => (given === undefined ? [name] : []));
      return missing.length > 0 ? `BACKUP_STORE=s3 also needs ${missing.join(', ')}` : undefined;
    },
  },
  {
    about: ['ADMIN_USERNAME', 'ADMIN_EMAIL', 'ADMIN_PASSWORD'],
    check: ({ auth }) => {
      const given = [auth.adminUsername, auth.adminEmail, auth.adminPassword].filter(
        part => part !== undefined,
      );
      return given.length === 1 || given.length === 2
        ? 'ADMIN_USERNAME, ADMIN_EMAIL and ADMIN_PASSWORD go together: set all three or none'
        : undefined;
    },
  },
  {
    about: ['TEMPORAL_TLS_CERT', 'TEMPORAL_TLS_KEY'],
    check: ({ temporal }) =>
      (temporal.tlsCert === undefined) !== (temporal.tlsKey === undefined)
        ? 'TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY go together: set both or none'
        : undefined,
  },
  {
    about: ['GRPC_PROXY_TLS_CERT', 'GRPC_PROXY_TLS_KEY'],
    check: ({ agents }) =>
      (agents.grpcProxyTlsCert === undefined) !== (agents.grpcProxyTlsKey === undefined)
        ? 'GRPC_PROXY_TLS_CERT and GRPC_PROXY_TLS_KEY go together: set both or none'
        : undefined,
  },
  {
    about: ['JWT_EXPIRY', 'JWT_REFRESH_EXPIRY'],
    check: ({ auth }) =>
      auth.jwtRefreshExpiryMs < auth.jwtExpiryMs
        ? 'JWT_REFRESH_EXPIRY must not be shorter than JWT_EXPIRY'
        : undefined,
  },
  {
    // One lost renewal must not cost a server its lease.
    about: ['LEASE_RENEW', 'LEASE_TTL'],
    check: ({ lease }) =>
      lease.renewMs * 2 > lease.ttlMs ? 'LEASE_RENEW must be at most half of LEASE_TTL' : undefined,
  },
];

/** How long an agent's guard may take over a server whose lease is over (agent/server/guard.ts), and a second more. */
const GUARD_STOP_MS = 35_000;

const inProduction: readonly Rule[] = [
  {
    about: ['LEASE_STOP_BUDGET'],
    check: ({ lease }) =>
      lease.stopBudgetMs < GUARD_STOP_MS
        ? `LEASE_STOP_BUDGET must be at least ${GUARD_STOP_MS / 1000}s in production: a guard may need that long`
        : undefined,
  },
  {
    about: ['JWT_SECRET'],
    check: ({ auth: { jwtSecret } }) => {
      if (jwtSecret === undefined)
        return 'JWT_SECRET must be set in production (try: openssl rand -base64 48)';
      if (Buffer.byteLength(jwtSecret) < MIN_SECRET_BYTES) {
        return `JWT_SECRET must have at least ${MIN_SECRET_BYTES} bytes in production`;
      }
      return PLACEHOLDER.test(jwtSecret) || new Set(jwtSecret).size < 8
        ? 'JWT_SECRET is guessable; production needs a random one (try: openssl rand -base64 48)'
        : undefined;
    },
  },
  {
    about: ['DATABASE_URL', 'DB_HOST'],
    check: ({ database }) =>
      database.url === undefined && database.host === undefined
        ? 'DATABASE_URL or DB_HOST must be set in production'
        : undefined,
  },
  {
    about: ['DATABASE_URL', 'DB_PASSWORD'],
    check: ({ database }) => {
      const name = database.url === undefined ? 'DB_PASSWORD' : 'DATABASE_URL';
      const password = database.url === undefined ? database.password : passwordIn(database.url);
      return password !== undefined && KNOWN_PASSWORDS.has(password)
        ? `${name} holds a password that everybody knows; production needs another`
        : undefined;
    },
  },
  {
    about: ['TEMPORAL_ADDRESS'],
    check: ({ temporal }) =>
      temporal.address === undefined ? 'TEMPORAL_ADDRESS must be set in production' : undefined,
  },
  {
    about: ['ADMIN_PASSWORD'],
    check: ({ auth: { adminPassword } }) =>
      adminPassword !== undefined && (adminPassword.length < 8 || KNOWN_PASSWORDS.has(adminPassword))
        ? 'ADMIN_PASSWORD must have at least 8 characters and not be a well-known one'
        : undefined,
  },
  {
    about: ['REDIS_URL'],
    check: ({ redis }) =>
      redis.url !== undefined && KNOWN_PASSWORDS.has(passwordIn(redis.url))
        ? 'REDIS_URL holds a password that everybody knows; production needs another'
        : undefined,
  },
  {
    about: ['SMTP_URL'],
    check: ({ mail: { smtpUrl } }) =>
      smtpUrl !== undefined && KNOWN_PASSWORDS.has(passwordIn(smtpUrl))
        ? 'SMTP_URL holds a password that everybody knows; production needs another'
        : undefined,
  },
  {
    // A worker does not know where an api listens, and 127.0.0.1 is no address to mail to anybody.
    about: ['SMTP_URL', 'PUBLIC_URL'],
    check: ({ mail, http }) =>
      mail.smtpUrl !== undefined && http.publicUrl === undefined
        ? 'SMTP_URL also needs PUBLIC_URL in production: the links in mails begin with it'
        : undefined,
  },
  {
    about: ['S3_SECRET_KEY'],
    check: ({ storage: { s3SecretKey } }) =>
      s3SecretKey !== undefined && KNOWN_PASSWORDS.has(s3SecretKey)
        ? 'S3_SECRET_KEY is one that everybody knows; production needs another'
        : undefined,
  },
];

/** As written: none of the known passwords holds a character that a URL would escape. Empty where there is none. */
function passwordIn(url: string): string {
  return new URL(url).password;
}

/** The rules that `settings` break, but for those about a setting in `unreadable`. */
export function brokenRules(settings: Settings, unreadable: ReadonlySet<string>): Problem[] {
  const rules = settings.runtime.env === 'production' ? [...always, ...inProduction] : always;
  return rules.flatMap(({ about, check }) => {
    if (about.some(name => unreadable.has(name))) return [];
    const message = check(settings);
    return message === undefined ? [] : [{ names: about, message }];
  });
}
