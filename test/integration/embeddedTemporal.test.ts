import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { expect } from 'chai';
import { freePort } from '../../processes/dev/ports.js';
import { startTemporal, type EmbeddedTemporal } from '../../processes/dev/temporalServer.js';

describe('embedded Temporal', function () {
  this.timeout(120_000); // the first run ever fetches the program
  let root = '';
  const running: EmbeddedTemporal[] = [];

  async function start(port?: number): Promise<EmbeddedTemporal> {
    const [chosen, uiPort] = [port ?? (await freePort()), await freePort()];
    const temporal = await startTemporal({ dataDir: root, port: chosen, uiPort, namespace: 'aymc' });
    running.push(temporal);
    return temporal;
  }

  async function withClient<T>(
    { address }: EmbeddedTemporal,
    use: (client: Client) => Promise<T>,
  ): Promise<T> {
    const connection = await Connection.connect({ address });
    try {
      return await use(new Client({ connection, namespace: 'aymc' }));
    } finally {
      await connection.close();
    }
  }

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'aymc-temporal-'));
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map(temporal => temporal.stop()));
    await rm(root, { recursive: true });
  });

  it('serves its namespace, the search attributes and the UI once it is up, and ends when told', async () => {
    const temporal = await start();
    const { customAttributes } = await withClient(temporal, ({ connection }) =>
      connection.operatorService.listSearchAttributes({ namespace: 'aymc' }),
    );
    expect(Object.keys(customAttributes)).to.include.members([
      'AymcServerId',
      'AymcAgentId',
      'AymcUserId',
      'AymcOpKind',
      'AymcOutcome',
      'AymcTrigger',
      'AymcNeedsOperator',
      'AymcEpoch',
    ]);
    expect((await fetch(temporal.uiUrl)).ok).to.equal(true);
    await temporal.stop();
    expect((await temporal.exited).signal).to.not.equal('SIGKILL');
  });

  it('keeps what was started over its own kill −9, at the same address', async () => {
    const first = await start();
    await withClient(first, client =>
      client.workflow.start('any', { taskQueue: 'none', workflowId: 'kept' }),
    );
    process.kill(first.pid, 'SIGKILL');
    await first.exited;
    const second = await start(first.port);
    const { status } = await withClient(second, client => client.workflow.getHandle('kept').describe());
    expect(status.name).to.equal('RUNNING');
  });

  it('refuses a second start while one serves the folder', async () => {
    await start();
    const error = await start().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(String(error)).to.match(/another process runs Temporal/);
  });
});
