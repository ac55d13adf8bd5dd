import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { ConfigError, loadConfig } from '#src/config.js';
import { parseDuration } from '#src/config/setting.js';
import { settings } from '#src/config/table.js';
import { configTable, envExample } from '../../processes/gen/configDocs.js';

const strong = 'kZ3v9QpX7mL2nB8cR5tY1wE6uI0oA4sD';
const production = {
  ENV: 'production',
  JWT_SECRET: strong,
  DATABASE_URL: 'postgres://aymc:d8f7g6h5@db/aymc',
  TEMPORAL_ADDRESS: 'temporal:7233',
};

function problemsOf(env: NodeJS.ProcessEnv, cwd?: string): readonly string[] {
  try {
    loadConfig(env, cwd === undefined ? {} : { cwd });
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('config', () => {
  let cwd = '';
  beforeEach(async () => {
    cwd = await mkdtemp(join(tmpdir(), 'aymc-config-'));
  });
  afterEach(() => rm(cwd, { recursive: true }));
  const write = (name: string, text: string) => writeFile(join(cwd, name), text);

  it('starts with nothing set, and is embedded then', () => {
    const config = loadConfig({}, { cwd });
    expect(config.http).to.include({ port: 8080, host: '127.0.0.1' });
    expect(config.database.url).to.equal(undefined);
    expect(config.temporal.address).to.equal(undefined);
    expect(config.runtime.dataDir).to.equal(join(cwd, '.aymc'));
    expect(config.lease.ttlMs).to.equal(180_000);
    expect(config.retention.logsMs).to.equal(14 * 24 * 3_600_000);
  });

  it('takes the environment before .env, .env before config.yaml, and that before defaults', async () => {
    await write('.env', 'PORT=1002\nDB_NAME=from_dotenv\n');
    await write(
      'config.yaml',
      'PORT: 1003\nDB_NAME: from_yaml\nDB_POOL_MAX: 7\nCORS_ORIGINS: [http://a, http://b]\n',
    );
    const config = loadConfig({ PORT: '1001', DB_HOST: 'db' }, { cwd });
    expect(config.http.port).to.equal(1001);
    expect(config.database).to.deep.equal({ url: 'postgres://aymc@db:5432/from_dotenv', poolMax: 7 });
    expect(config.http.corsOrigins).to.deep.equal(['http://a', 'http://b']);
    expect(config.provenance.get('PORT')).to.equal('environment');
    expect(config.provenance.get('DB_NAME')).to.equal('.env');
    expect(config.provenance.get('DB_POOL_MAX')).to.equal('config.yaml');
    expect(config.provenance.get('HOST')).to.equal('default');
  });

  it('starts embedded from a copied .env.example', async () => {
    await write('.env', envExample());
    const copied = loadConfig({}, { cwd });
    await rm(join(cwd, '.env'));
    expect(copied).to.deep.equal(loadConfig({}, { cwd }));
    expect(envExample()).to.include('# DB_HOST=localhost').and.include('# DB_PASSWORD=secret');
  });

  it('treats an empty value as unset', () => {
    expect(loadConfig({ PORT: '', JWT_SECRET: ' ' }).http.port).to.equal(8080);
  });

  it('cannot be changed after it was read', () => {
    const config = loadConfig({});
    expect(() => Object.assign(config.http, { port: 1 })).to.throw(TypeError);
    expect(() => Object.assign(config, { http: {} })).to.throw(TypeError);
  });

  it('reports everything that is wrong at once, with where it came from', async () => {
    await write('config.yaml', 'LOG_LEVEL: loud\nPROT: 8080\nDB_PORT: {a: 1}\n');
    const problems = problemsOf({ PORT: '80800', JWT_EXPIRY: '24', BACKUP_STORE: 's3' }, cwd).join('\n');
    expect(problems).to.match(/PORT must be a port number.*"80800" \(environment\)/);
    expect(problems).to.match(/JWT_EXPIRY must be a duration.*"24"/);
    expect(problems).to.match(/LOG_LEVEL must be one of .*"loud" \(config.yaml\)/);
    expect(problems).to.include('there is no setting PROT');
    expect(problems).to.include('DB_PORT must be a single value');
    expect(problems).to.include('BACKUP_STORE=s3 also needs S3_BUCKET, S3_ACCESS_KEY, S3_SECRET_KEY');
  });

  it('says what is wrong with a broken config.yaml', async () => {
    await write('config.yaml', 'PORT: [1\n');
    expect(problemsOf({}, cwd).join()).to.include('config.yaml is not valid YAML');
    await write('config.yaml', '- 1\n');
    expect(problemsOf({}, cwd).join()).to.include('must be a mapping');
  });

  it('asks no rule about a setting that could not be read', () => {
    expect(problemsOf({ JWT_EXPIRY: 'soon', JWT_REFRESH_EXPIRY: '1s' })).to.have.length(1);
  });

  describe('in production', () => {
    it('starts with real secrets', () => {
      expect(problemsOf(production)).to.deep.equal([]);
      expect(loadConfig(production).servers.allowPrivateUrls).to.equal(false);
    });

    it('names every missing part at once', () => {
      const problems = problemsOf({ ENV: 'production' });
      expect(problems).to.have.length(3);
      expect(problems.join())
        .to.include('JWT_SECRET')
        .and.include('DATABASE_URL')
        .and.include('TEMPORAL_ADDRESS');
    });

    it('leaves guards the time that they may need', () => {
      expect(problemsOf({ ...production, LEASE_STOP_BUDGET: '34s' })).to.have.length(1);
      expect(problemsOf({ ...production, LEASE_STOP_BUDGET: '35s' })).to.deep.equal([]);
    });

    for (const [what, env] of Object.entries({
      'a short JWT_SECRET': { JWT_SECRET: 'x7Kq' },
      'a JWT_SECRET of one repeated character': { JWT_SECRET: 'a'.repeat(64) },
      'a placeholder as JWT_SECRET': { JWT_SECRET: 'change-me-0123456789-abcdefghijklmnop' },
      'a well-known database password': { DATABASE_URL: 'postgres://aymc:secret@db/aymc' },
      'the default admin password': {
        ADMIN_USERNAME: 'admin',
        ADMIN_EMAIL: 'a@b.c',
        ADMIN_PASSWORD: 'admin123',
      },
      'the default password of MinIO': { S3_SECRET_KEY: 'minioadmin' },
      'a well-known password of Redis': { REDIS_URL: 'redis://:changeme@redis' },
      'a well-known password of the mail server': {
        PUBLIC_URL: 'https://a.example',
        SMTP_URL: 'smtp://aymc:password@mail',
      },
      'mails whose links lead nowhere': { SMTP_URL: 'smtp://mail.example' },
    })) {
      it(`refuses ${what}, and does not print it`, () => {
        const problems = problemsOf({ ...production, ...env });
        expect(problems).to.have.length(1);
        for (const secret of Object.values<string | undefined>(env)) {
          if (secret !== undefined && secret.length > 8) expect(problems.join()).not.to.include(secret);
        }
      });
    }
  });

  describe('secrets from files', () => {
    it('reads NAME_FILE without its last newline', async () => {
      await write('jwt', `${strong}\n`);
      expect(loadConfig({ JWT_SECRET_FILE: 'jwt' }, { cwd }).auth.jwtSecret).to.equal(strong);
    });

    it('prefers the NAME_FILE of the environment to the NAME of .env', async () => {
      await write('jwt', strong);
      await write('.env', 'JWT_SECRET=other');
      expect(loadConfig({ JWT_SECRET_FILE: 'jwt' }, { cwd }).auth.jwtSecret).to.equal(strong);
    });

    it('refuses both at once, a missing and an empty file', async () => {
      await write('empty', '\n');
      expect(problemsOf({ JWT_SECRET: 'a', JWT_SECRET_FILE: 'empty' }, cwd).join()).to.include('both set');
      expect(problemsOf({ JWT_SECRET_FILE: 'none' }, cwd).join()).to.include("JWT_SECRET_FILE can't be read");
      expect(problemsOf({ JWT_SECRET_FILE: 'empty' }, cwd).join()).to.include('empty file');
    });

    it('offers it for secrets alone', async () => {
      await write('port', '99');
      expect(loadConfig({ PORT_FILE: 'port' }, { cwd }).http.port).to.equal(8080);
    });
  });

  describe('derived values', () => {
    it('escapes what makes up the database URL', () => {
      const { url } = loadConfig({ DB_HOST: 'db', DB_USER: 'a@b', DB_PASSWORD: 'p/w:?' }).database;
      expect(url).to.equal('postgres://a%40b:p%2Fw%3A%3F@db:5432/aymc_db');
    });

    it('lets DATABASE_URL and REDIS_URL win over their parts', () => {
      const config = loadConfig({
        DATABASE_URL: 'postgres://x@y/z',
        DB_HOST: 'db',
        REDIS_URL: 'redis://r:1/0',
        REDIS_HOST: 'redis',
      });
      expect(config.database.url).to.equal('postgres://x@y/z');
      expect(config.redis.url).to.equal('redis://r:1/0');
    });

    it('speaks TLS to Temporal when asked, or when a certificate or an API key says so', () => {
      expect(loadConfig({}).temporal.tls).to.equal(undefined);
      expect(loadConfig({ TEMPORAL_TLS: 'yes' }).temporal.tls).to.be.an('object');
      expect(loadConfig({ TEMPORAL_API_KEY: 'k' }).temporal.tls).to.be.an('object');
      expect(problemsOf({ TEMPORAL_TLS_CERT: 'pem' }).join()).to.include('TEMPORAL_TLS_KEY');
    });

    it('allows private addresses in development, unless told', () => {
      expect(loadConfig({}).servers.allowPrivateUrls).to.equal(true);
      expect(loadConfig({ ALLOW_PRIVATE_URLS: '0' }).servers.allowPrivateUrls).to.equal(false);
    });

    it('keeps fetched programs where the desktop keeps caches', () => {
      expect(loadConfig({ XDG_CACHE_HOME: '/var/c' }).dev.cacheDir).to.equal('/var/c/aymc');
    });
  });

  describe('durations', () => {
    it('know their units and add up', () => {
      expect(parseDuration('250ms')).to.equal(250);
      expect(parseDuration('1h30m')).to.equal(5_400_000);
      expect(parseDuration('168h')).to.equal(parseDuration('7d'));
    });

    it('are refused without a unit, negative, zero, or with anything else around them', () => {
      for (const text of ['30', '0s', '-1s', '1.5h', ' 1s', '1s ', '1 s', '1w', 's', '', '1e3ms']) {
        expect(parseDuration(text), text).to.equal(undefined);
      }
    });

    it('round-trip for every whole number of milliseconds', () => {
      fc.assert(fc.property(fc.integer({ min: 1 }), ms => parseDuration(`${ms}ms`) === ms));
    });
  });

  it('documents every setting in both generated files', () => {
    for (const { setting } of settings) {
      expect(envExample()).to.include(`\n# ${setting.name}=`);
      expect(configTable()).to.include(`\n| \`${setting.name}\``);
    }
  });
});
