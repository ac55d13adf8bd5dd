import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Setting } from '#src/config/setting.js';
import { table } from '#src/config/table.js';

const TITLES: Record<keyof typeof table, string> = {
  runtime: 'General',
  dev: '`npm start`',
  http: 'HTTP',
  database: 'PostgreSQL',
  redis: 'Redis (optional)',
  auth: 'Accounts',
  temporal: 'Temporal',
  agents: 'Agents',
  servers: 'Minecraft servers',
  storage: 'Backups',
  mail: 'Mail',
  upstreams: 'Upstreams',
  health: 'Health',
  failover: 'Failover',
  lease: 'Leases',
  limits: 'Rate limits',
  retention: 'Retention',
};

/** Shown in `.env.example` for settings that have no default. */
const SAMPLES: Readonly<Record<string, string>> = {
  DB_HOST: 'localhost',
  DB_PASSWORD: 'secret',
  REDIS_HOST: 'localhost',
};

function sections(): { title: string; settings: Setting<unknown>[] }[] {
  const titles: Readonly<Record<string, string>> = TITLES;
  return Object.entries(table).map(([group, settings]) => ({
    title: titles[group] ?? group,
    settings: Object.values<Setting<unknown>>(settings),
  }));
}

/** Every line is commented out, so that a copied file changes nothing until someone edits it. */
export function envExample(): string {
  const lines = [
    '# Settings of AYMC; made by `npm run gen` from src/config/table.ts.',
    '# Copy this file to .env and take the # off what you change. The environment wins over .env.',
    '# Durations carry their unit (500ms, 30s, 5m, 24h, 14d). Secrets may come from files: NAME_FILE=/path.',
  ];
  for (const { title, settings } of sections()) {
    lines.push('', `# --- ${title.replaceAll('`', '')}`);
    for (const { name, about, default: fallback } of settings) {
      lines.push(`# ${about.replaceAll('`', '')}`, `# ${name}=${fallback ?? SAMPLES[name] ?? ''}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

export function configTable(): string {
  const lines = [
    '# Settings',
    '',
    'Made by `npm run gen` from `src/config/table.ts`. Read in this order: environment, `.env`, `config.yaml` (a flat mapping',
    'of the same names), defaults. All are checked before anything starts, and all that is wrong is reported at once.',
    'Durations carry their unit (`500ms`, `30s`, `5m`, `1h30m`, `14d`). For a setting marked 🔑 the value may lie in a file:',
    '`NAME_FILE=/run/secrets/name`.',
  ];
  for (const { title, settings } of sections()) {
    lines.push('', `## ${title}`, '', '| setting | value | default | meaning |', '|---|---|---|---|');
    for (const setting of settings) {
      const key = setting.secret ? ' 🔑' : '';
      const kind = setting.kind.replaceAll('|', '\\|');
      lines.push(`| \`${setting.name}\`${key} | ${kind} | ${shownDefault(setting)} | ${setting.about} |`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function shownDefault({ default: fallback, defaultText }: Setting<unknown>): string {
  return defaultText ?? (fallback === undefined ? '–' : `\`${fallback}\``);
}

/** Writes both files, or with `--check` only tells whether they are up to date. */
async function main(check: boolean): Promise<void> {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
  for (const [path, wanted] of [
    ['.env.example', envExample()],
    ['docs/generated/config.md', configTable()],
  ] as const) {
    if (!check) await writeFile(join(root, path), wanted);
    else if ((await readFile(join(root, path), 'utf8').catch(() => '')) !== wanted) {
      console.error(`${path} is out of date; run: npm run gen`);
      process.exitCode = 1;
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.includes('--check'));
