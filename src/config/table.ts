import {
  address,
  addresses,
  choice,
  count,
  duration,
  flag,
  list,
  path,
  port,
  positive,
  text,
  url,
  type NameOf,
  type Setting,
  type ValueOf,
} from './setting.js';

const http = url('http', 'https');
const postgres = url('postgres', 'postgresql');
const redis = url('redis', 'rediss');
const smtp = url('smtp', 'smtps');

/**
 * Every setting of the control plane, once. The types of `Config`, the validation, `.env.example` and
 * `docs/generated/config.md` all derive from this table; so a new setting is one entry here.
 * (Agents have their own short list: `agent/config.ts`.)
 */
export const table = {
  runtime: {
    env: choice(
      'development',
      'test',
      'production',
    )('ENV', {
      default: 'development',
      about: 'What this installation is for. `production` refuses weak or missing secrets.',
    }),
    logLevel: choice(
      'trace',
      'debug',
      'info',
      'warn',
      'error',
      'fatal',
      'silent',
    )('LOG_LEVEL', {
      default: 'info',
      about: 'Least severe level that is logged.',
    }),
    dataDir: path('AYMC_DATA_DIR', {
      default: '.aymc',
      about: 'Where everything embedded keeps its data, and development its generated secrets.',
    }),
    workflowBundle: path('AYMC_WORKFLOW_BUNDLE', {
      about:
        'Prebuilt Temporal workflow bundle (`npm run build` makes it). Unset: the worker bundles at start.',
    }),
  },
  dev: {
    embeddedAgents: count('AYMC_EMBEDDED_AGENTS', {
      default: '1',
      about: 'How many local agents `npm start` runs; 0 for none, several to try failover at home.',
    }),
    stopServersOnExit: flag('AYMC_STOP_SERVERS_ON_EXIT', {
      default: '1',
      about:
        'Whether ending `npm start` stops the Minecraft servers, or leaves them running under their guards.',
    }),
    startId: text('AYMC_START_ID', {
      about: 'Set by `npm start`, anew each time: servers with auto_start are started once for each.',
    }),
    cacheDir: path('AYMC_CACHE_DIR', {
      defaultText: '`$XDG_CACHE_HOME/aymc` or `~/.cache/aymc`',
      about: 'Where programs that `npm start` had to fetch are kept.',
    }),
  },
  http: {
    port: port('PORT', {
      default: '8080',
      about: 'Port of the API. Unset and taken: `npm start` picks a free one.',
    }),
    host: text('HOST', { default: '127.0.0.1', about: 'Address that the API listens on.' }),
    publicUrl: http('PUBLIC_URL', {
      defaultText: 'the real listening address',
      about: 'How others reach the API: for links in mails, downloads and what agents are told.',
    }),
    trustedProxies: count('TRUSTED_PROXIES', {
      default: '0',
      about:
        'How many reverse proxies of yours stand in front of the API: of X-Forwarded-For so many entries are believed.',
    }),
    maxConnections: positive('HTTP_MAX_CONNECTIONS', {
      default: '10000',
      about: 'Connections that one process serves at once, sockets included; those beyond are refused.',
    }),
    maxConnectionsPerIp: count('HTTP_MAX_CONNECTIONS_PER_IP', {
      default: '0',
      about:
        'Of these, how many from one address; 0 for no limit, as behind a proxy, where all come from one.',
    }),
    corsOrigins: list('CORS_ORIGINS', {
      default: 'http://localhost:1420,tauri://localhost,http://tauri.localhost,https://tauri.localhost',
      about: 'Origins of web and desktop front ends that may call the API.',
    }),
  },
  database: {
    url: postgres('DATABASE_URL', {
      secret: true,
      about: 'PostgreSQL. Wins over the DB_ settings; without both, `npm start` runs its own.',
    }),
    host: text('DB_HOST', { about: 'PostgreSQL server, where DATABASE_URL is not set.' }),
    port: port('DB_PORT', { default: '5432', about: 'Its port.' }),
    user: text('DB_USER', { default: 'aymc', about: 'The role to log in as.' }),
    password: text('DB_PASSWORD', { secret: true, about: 'Its password.' }),
    name: text('DB_NAME', { default: 'aymc_db', about: 'The database.' }),
    poolMax: positive('DB_POOL_MAX', { default: '10', about: 'Most connections a process opens.' }),
  },
  redis: {
    url: redis('REDIS_URL', {
      secret: true,
      about:
        'Redis, for pokes between processes and the shared cache. Unset: in-process; several processes then poll Postgres.',
    }),
    host: text('REDIS_HOST', { about: 'Redis server, where REDIS_URL is not set.' }),
    port: port('REDIS_PORT', { default: '6379', about: 'Its port.' }),
  },
  auth: {
    jwtSecret: text('JWT_SECRET', {
      secret: true,
      defaultText: 'in development generated and kept in the data dir',
      about: 'Signs tokens and seals stored secrets. At least 32 bytes in production.',
    }),
    jwtExpiryMs: duration('JWT_EXPIRY', { default: '24h', about: 'How long an access token is good for.' }),
    jwtRefreshExpiryMs: duration('JWT_REFRESH_EXPIRY', {
      default: '168h',
      about: 'How long a refresh token is good for.',
    }),
    registration: choice(
      'open',
      'invite',
      'closed',
    )('REGISTRATION', {
      default: 'open',
      about: 'Who may register: anyone, whoever an admin has invited, or nobody.',
    }),
    adminUsername: text('ADMIN_USERNAME', {
      about: 'With the next two: the first admin, made if there is none.',
    }),
    adminEmail: text('ADMIN_EMAIL', { about: 'Mail address of the first admin.' }),
    adminPassword: text('ADMIN_PASSWORD', { secret: true, about: 'Password of the first admin.' }),
  },
  temporal: {
    address: address('TEMPORAL_ADDRESS', { about: 'Temporal front end. Unset: `npm start` runs its own.' }),
    namespace: text('TEMPORAL_NAMESPACE', { default: 'default', about: 'Temporal namespace.' }),
    tls: flag('TEMPORAL_TLS', {
      default: 'false',
      about: 'Speak TLS to Temporal; implied by the next settings and by an API key.',
    }),
    tlsCa: text('TEMPORAL_TLS_CA', { secret: true, about: 'PEM of the authority that signed the server.' }),
    tlsCert: text('TEMPORAL_TLS_CERT', { secret: true, about: 'PEM of the client certificate.' }),
    tlsKey: text('TEMPORAL_TLS_KEY', { secret: true, about: 'PEM of the client key.' }),
    tlsServerName: text('TEMPORAL_TLS_SERVER_NAME', { about: 'Name to expect in the server certificate.' }),
    apiKey: text('TEMPORAL_API_KEY', { secret: true, about: 'API key, for Temporal Cloud.' }),
  },
  agents: {
    grpcTimeoutMs: duration('AGENT_GRPC_TIMEOUT', {
      default: '30s',
      about: 'Deadline of an ordinary call to an agent.',
    }),
    reachBudgetMs: duration('AGENT_REACH_BUDGET', {
      default: '60s',
      about:
        'How long an operation waits for an agent that was never reached; then it fails, with nothing half done.',
    }),
    balancer: choice(
      'least_load',
      'least_connections',
      'round_robin',
    )('BALANCER_STRATEGY', {
      default: 'least_load',
      about:
        'Which agent gets a new server: lowest share of reserved memory then CPU, fewest servers assigned, or in turn.',
    }),
    grpcProxyPort: port('GRPC_PROXY_PORT', { about: 'Port of the gRPC proxy to agents. Unset: no proxy.' }),
    grpcProxyTlsCert: text('GRPC_PROXY_TLS_CERT', {
      secret: true,
      about: 'PEM of the certificate that the proxy shows. Unset: it speaks plaintext.',
    }),
    grpcProxyTlsKey: text('GRPC_PROXY_TLS_KEY', { secret: true, about: 'PEM of its key.' }),
    routeHook: text('ROUTE_HOOK', { about: 'URL told when a server changes its address.' }),
  },
  servers: {
    acceptEula: flag('ACCEPT_EULA', {
      default: 'false',
      about: "The operator's own acceptance of the Minecraft EULA, for requests that don't say.",
    }),
    allowPrivateUrls: flag('ALLOW_PRIVATE_URLS', {
      defaultText: 'true, in production false',
      about: 'Whether downloads may come from private addresses, and webhooks go there.',
    }),
  },
  storage: {
    store: choice('local', 's3')('BACKUP_STORE', { default: 'local', about: 'Where backups are kept.' }),
    dir: path('BACKUP_DIR', { defaultText: '`<data dir>/backups`', about: 'Folder of the local store.' }),
    s3Endpoint: http('S3_ENDPOINT', { about: 'S3-compatible server; unset means AWS.' }),
    s3Bucket: text('S3_BUCKET', { about: 'Bucket.' }),
    s3Region: text('S3_REGION', { default: 'us-east-1', about: 'Region.' }),
    s3AccessKey: text('S3_ACCESS_KEY', { secret: true, about: 'Access key.' }),
    s3SecretKey: text('S3_SECRET_KEY', { secret: true, about: 'Secret key.' }),
  },
  mail: {
    smtpUrl: smtp('SMTP_URL', {
      secret: true,
      about: 'Mail server. Unset: mails are written to `<data dir>/mail/`.',
    }),
    from: text('MAIL_FROM', { default: 'AYMC <aymc@localhost>', about: 'Sender of mails.' }),
  },
  upstreams: {
    curseforgeApiKey: text('CURSEFORGE_API_KEY', {
      secret: true,
      about: 'Key for CurseForge, which answers nobody without one.',
    }),
    contact: text('UPSTREAM_CONTACT', {
      defaultText: 'PUBLIC_URL, or else MAIL_FROM',
      about:
        'Web or mail address that upstreams are told in the User-Agent; PaperMC answers nobody without one.',
    }),
    modrinth: http('MODRINTH_URL', { default: 'https://api.modrinth.com/v2', about: 'Modrinth.' }),
    spiget: http('SPIGET_URL', {
      default: 'https://api.spiget.org/v2',
      about: 'Spiget, the API for SpigotMC.',
    }),
    curseforge: http('CURSEFORGE_URL', { default: 'https://api.curseforge.com', about: 'CurseForge.' }),
    hangar: http('HANGAR_URL', { default: 'https://hangar.papermc.io/api/v1', about: 'Hangar.' }),
    paper: http('PAPER_URL', { default: 'https://fill.papermc.io/v3', about: 'Paper builds.' }),
    purpur: http('PURPUR_URL', { default: 'https://api.purpurmc.org/v2', about: 'Purpur builds.' }),
    mojang: http('MOJANG_URL', { default: 'https://piston-meta.mojang.com', about: 'Vanilla servers.' }),
    mojangApi: http('MOJANG_API_URL', {
      default: 'https://api.mojang.com',
      about: 'Ids of players, for the lists of stopped servers.',
    }),
    fabric: http('FABRIC_URL', { default: 'https://meta.fabricmc.net/v2', about: 'Fabric.' }),
    forge: http('FORGE_URL', { default: 'https://maven.minecraftforge.net', about: 'Forge installers.' }),
    forgeFiles: http('FORGE_FILES_URL', {
      default: 'https://files.minecraftforge.net',
      about: 'Which Forge build is recommended.',
    }),
    spigot: http('SPIGOT_URL', {
      default: 'https://hub.spigotmc.org',
      about: 'BuildTools of Spigot, and which versions they build.',
    }),
    adoptium: http('ADOPTIUM_URL', { default: 'https://api.adoptium.net', about: 'Java runtimes.' }),
  },
  health: {
    intervalMs: duration('HEALTH_INTERVAL', { default: '30s', about: 'How often every agent is pinged.' }),
    failures: positive('HEALTH_FAILURES', {
      default: '3',
      about: 'Missed pings that make an agent offline.',
    }),
    canaries: addresses('HEALTH_CANARIES', {
      defaultText: 'the last two agents that answered another worker',
      about: 'What a worker must reach before it blames agents rather than its own network.',
    }),
    reconcileIntervalMs: duration('RECONCILE_INTERVAL', {
      default: '30s',
      about: 'How often ledger, Temporal and agents are compared.',
    }),
    hungAfterMs: duration('HUNG_AFTER', {
      default: '60s',
      about:
        'How long a running server may answer nothing before people are alerted, and it is restarted if it has restart_when_hung.',
    }),
  },
  failover: {
    afterMs: duration('FAILOVER_AFTER', {
      default: '5m',
      about: 'How long an agent is offline before its servers move.',
    }),
    policyDefault: choice(
      'auto',
      'manual',
      'never',
    )('FAILOVER_POLICY_DEFAULT', {
      default: 'never',
      about: 'Failover policy of servers that name none. Any other than `never` puts them under a lease.',
    }),
  },
  lease: {
    ttlMs: duration('LEASE_TTL', { default: '180s', about: 'How long a grant to run leased servers holds.' }),
    renewMs: duration('LEASE_RENEW', { default: '15s', about: 'How often an agent renews it.' }),
    stopBudgetMs: duration('LEASE_STOP_BUDGET', {
      default: '45s',
      about: 'Time a guard has to stop a server whose lease ended.',
    }),
    marginMs: duration('LEASE_MARGIN', {
      default: '15s',
      about: 'Safety added before another agent takes over.',
    }),
  },
  limits: {
    userPerMinute: positive('RATE_LIMIT_USER_PER_MINUTE', {
      default: '3000',
      about: 'Requests a user may send a minute.',
    }),
    userBurst: positive('RATE_LIMIT_USER_BURST', { default: '300', about: 'Of these, how many at once.' }),
    loginPerAccountPerMinute: positive('RATE_LIMIT_LOGIN_ACCOUNT_PER_MINUTE', {
      default: '10',
      about: 'Login attempts on one account a minute.',
    }),
    loginPerIpPerMinute: positive('RATE_LIMIT_LOGIN_IP_PER_MINUTE', {
      default: '60',
      about: 'Login attempts from one address a minute.',
    }),
  },
  retention: {
    logsMs: duration('LOG_RETENTION', { default: '14d', about: 'How long console lines are kept.' }),
    metricsMs: duration('METRICS_RETENTION', { default: '30d', about: 'How long metrics are kept.' }),
    notificationsMs: duration('NOTIFICATION_RETENTION', {
      default: '90d',
      about: 'How long notifications are kept, read or not.',
    }),
    auditMs: duration('AUDIT_RETENTION', { default: '365d', about: 'How long the audit log is kept.' }),
  },
} as const;

type Table = typeof table;

/** The table's values as validated, before anything is derived from them. */
export type Settings = {
  readonly [G in keyof Table]: { readonly [K in keyof Table[G]]: ValueOf<Table[G][K]> };
};

export type SettingName = { [G in keyof Table]: NameOf<Table[G][keyof Table[G]]> }[keyof Table];

/** Every setting with its place in `Settings`. */
export const settings: readonly SettingPlace[] = Object.entries(table).flatMap(([group, members]) =>
  Object.entries<Setting<unknown, SettingName>>(members).map(([key, setting]) => ({ group, key, setting })),
);

interface SettingPlace {
  readonly group: string;
  readonly key: string;
  readonly setting: Setting<unknown, SettingName>;
}
