import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import { SERVER_TYPES, type ServerType } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { createCatalogue } from '#src/http/serverTypes/catalogue.js';
import { createLogger } from '#src/observability/logger.js';
import { createSources } from '#src/provisioning/sources.js';
import {
  codeOf,
  rowsOf,
  startTestApi,
  type ApiAnswer,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';
import { startUpstreams, type LocalUpstreams } from '#test/upstreams/upstreams.js';

describe('the types of servers and their versions', function () {
  this.timeout(20_000);
  let upstreams: LocalUpstreams;
  let api: TestApi;
  let user: ApiUser;
  beforeEach(async () => {
    upstreams = await startUpstreams(Buffer.from('a jar'));
    api = await startTestApi({ deps: { sources: sources() } });
    user = await api.signUp();
  });
  afterEach(async () => {
    await api.close();
    await upstreams.close();
  });

  const sources = () =>
    createSources({ bases: upstreams.bases, urls: { allowPrivate: true }, userAgent: 'AYMC (test)' });
  /** Another process of the API, which has nothing but the database in common with the first. */
  const anotherProcess = (patienceMs = 0) => {
    const logger = createLogger({ level: 'silent', name: 'other' });
    return createCatalogue({ db: api.db, sources: sources(), logger, patienceMs });
  };
  const ask = (type: ServerType, query = '') => user.send(`GET /server-types/${type}/versions${query}`);
  const versionsOf = (answer: ApiAnswer) => rowsOf(answer).map(({ version }) => version);
  const makeOld = () =>
    rows(
      api.db,
      `UPDATE upstream_versions SET fetched_at = fetched_at - interval '1 hour' RETURNING server_type`,
    );

  it('are all there, each with its versions newest first', async () => {
    const types = rowsOf(await user.send('GET /server-types')).map(({ type }) => type);
    expect(types).to.have.members([...SERVER_TYPES]);
    for (const type of SERVER_TYPES) {
      const answer = await ask(type);
      expect(answer.status, type).to.equal(200);
      expect(versionsOf(answer), type).to.include.members(['26.1.2']);
      expect(answer.headers.get('x-stale'), type).to.equal(null);
      expect(Date.now() - Date.parse(answer.headers.get('x-fetched-at') ?? '')).to.be.within(-5_000, 10_000);
    }
  });

  it('are asked for stable ones, or for all others; and only such as a server can be given', async () => {
    expect(versionsOf(await ask('vanilla', '?stable=true'))).to.deep.equal([
      '26.1.2',
      '1.21.4',
      '1.7.10',
      '1.0',
    ]);
    expect(versionsOf(await ask('vanilla', '?stable=false'))).to.deep.equal(['26.2-snapshot-3', '24w14a']);
    expect(versionsOf(await ask('vanilla'))).to.not.include('1.14.2 Pre-Release 4');
    expect(rowsOf(await ask('paper', '?stable=true'))[0]).to.deep.equal({
      version: '26.1.2',
      stable: true,
      java_major: 25,
    });
    expect(codeOf(await ask('paper', '?stable=perhaps'))).to.equal('400 invalid-request');
    expect(codeOf(await user.send('GET /server-types/bedrock/versions'))).to.equal('400 invalid-request');
  });

  it('are asked of the upstream once for everyone who wants them, and for every process', async () => {
    const { requests } = upstreams.of.paper;
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask('paper')));
    expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([200]));
    await anotherProcess().versions('paper');
    await ask('paper');
    expect(requests).to.have.length(1);
  });

  it('are asked again after a while', async () => {
    await ask('paper');
    await makeOld();
    const answer = await ask('paper');
    expect(upstreams.of.paper.requests).to.have.length(2);
    expect(answer.headers.get('x-stale')).to.equal(null);
    expect(Date.now() - Date.parse(answer.headers.get('x-fetched-at') ?? '')).to.be.below(10_000);
  });

  it('are those of before while the upstream is down, also in a process that was started since', async () => {
    const fresh = await ask('vanilla');
    await makeOld();
    await upstreams.of.vanilla.close();
    const stale = await ask('vanilla');
    expect(stale.body).to.deep.equal(fresh.body);
    expect(stale.headers.get('x-stale')).to.equal('true');
    expect(Date.now() - Date.parse(stale.headers.get('x-fetched-at') ?? '')).to.be.above(3_000_000);
    expect(await anotherProcess().versions('vanilla')).to.include({ stale: true });
  });

  it('are those of before when the upstream sends a page; it is left in peace, and then asked again', async () => {
    const { paper } = upstreams.of;
    await ask('paper');
    await makeOld();
    paper.misbehave('html-page');
    for (let i = 0; i < 3; i++) expect((await ask('paper')).headers.get('x-stale')).to.equal('true');
    expect(paper.requests).to.have.length(2);

    const impatient = anotherProcess(0);
    expect(await impatient.versions('paper')).to.include({ stale: true });
    paper.misbehave(undefined);
    expect(await impatient.versions('paper')).to.include({ stale: false });
    expect(paper.requests).to.have.length(4);
    expect((await ask('paper')).headers.get('x-stale')).to.equal(null);
  });

  it('are upstream-failed where it was never heard, and there as soon as it is back', async () => {
    upstreams.of.purpur.misbehave('error-500');
    expect(codeOf(await ask('purpur'))).to.equal('502 upstream-failed');
    const error: unknown = await anotherProcess()
      .versions('purpur')
      .catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(AppError).and.include({ code: 'upstream-failed' });
    expect(await row(api.db, 'SELECT 1 AS one FROM upstream_versions')).to.equal(undefined);
    upstreams.of.purpur.misbehave(undefined);
    expect((await ask('purpur')).status).to.equal(200);
  });
});
