interface BannerFacts {
  readonly api: string;
  readonly temporalUi: string | null;
  readonly embeddedPostgres: boolean;
  readonly dataDir: string;
  readonly agents: readonly string[];
  readonly seeded: boolean;
}

/** What a person needs next; the last line is for programs that wait for it. */
export function banner({ api, temporalUi, embeddedPostgres, dataDir, agents, seeded }: BannerFacts): string {
  const rows: [string, string][] = [
    ['API', `${api}/api/v1`],
    ['Swagger UI', `${api}/docs`],
    ['Temporal UI', temporalUi ?? '(your Temporal server)'],
    ['PostgreSQL', embeddedPostgres ? 'embedded; URL in runtime.json' : '(your server)'],
    ['Agents', agents.length > 0 ? agents.join(', ') : 'none'],
    ['Data', dataDir],
    ...(seeded ? ([['Login', 'admin / admin123']] satisfies [string, string][]) : []),
  ];
  const lines = rows.map(([name, value]) => `  ${name.padEnd(12)} ${value}`);
  return ['', ...lines, '', `AYMC ready ${api}`].join('\n');
}
