import { expect } from 'chai';
import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import { agentAddress } from '#src/agents/address.js';
import { agentError, castsDoubtOnChannel, REASON_KEY } from '#src/agents/errors.js';
import { ERRORS, type ErrorCode } from '#src/domain/errors.js';

describe('errors of agents', () => {
  it('follow the agent’s own reason when our table has it', () => {
    expect(agentError(failure(status.ABORTED, 'start-timeout')).code).to.equal('start-timeout');
    expect(agentError(failure(status.UNAVAILABLE, 'console-busy')).code).to.equal('console-busy');
    expect(agentError(failure(status.NOT_FOUND, 'a-code-of-next-year')).code).to.equal('not-found');
  });

  it('follow the gRPC status when the agent gives no reason', () => {
    const expected: [status, ErrorCode][] = [
      [status.UNAVAILABLE, 'agent-unreachable'],
      [status.CANCELLED, 'agent-unreachable'],
      [status.DEADLINE_EXCEEDED, 'agent-timeout'],
      [status.UNIMPLEMENTED, 'agent-unsupported'],
      [status.UNAUTHENTICATED, 'agent-refused'],
      [status.PERMISSION_DENIED, 'agent-refused'],
      [status.FAILED_PRECONDITION, 'agent-refused'],
      [status.INVALID_ARGUMENT, 'invalid-request'],
      [status.UNKNOWN, 'agent-failed'],
      [status.INTERNAL, 'agent-failed'],
    ];
    for (const [code, mapped] of expected)
      expect(agentError(failure(code)).code, status[code]).to.equal(mapped);
    expect(agentError(Object.assign(failure(status.UNKNOWN), { code: 99 })).code).to.equal('agent-failed');
  });

  it('are worth a retry exactly when the safety rules say so', () => {
    const retryable = [
      status.UNAVAILABLE,
      status.DEADLINE_EXCEEDED,
      status.ABORTED,
      status.RESOURCE_EXHAUSTED,
    ];
    const final = [
      status.INVALID_ARGUMENT,
      status.NOT_FOUND,
      status.PERMISSION_DENIED,
      status.FAILED_PRECONDITION,
    ];
    for (const code of retryable) expect(agentError(failure(code)).retryable, status[code]).to.equal(true);
    for (const code of final) expect(agentError(failure(code)).retryable, status[code]).to.equal(false);
    expect(agentError(failure(status.RESOURCE_EXHAUSTED)).retryAfterS).to.be.greaterThan(0);
  });

  it('never sign our users out: no code of 401 or 403 comes from an agent', () => {
    for (const [code, { status: http }] of Object.entries(ERRORS)) {
      if (http !== 401 && http !== 403) continue;
      expect(agentError(failure(status.UNAUTHENTICATED, code)).code, code).to.equal('agent-refused');
    }
  });

  it('tell one sentence, never a stack trace', () => {
    const { detail } = agentError({
      ...failure(status.INTERNAL),
      details: 'panic: nil map\u0007\n\tat main.go:12\n\tat proc.go:7',
    });
    expect(detail).to.equal('panic: nil map ');
    const long = agentError({ ...failure(status.INTERNAL), details: 'x'.repeat(10_000) });
    expect(long.detail.length).to.be.at.most(300);
    expect(agentError(failure(status.UNAVAILABLE)).detail).to.equal(ERRORS['agent-unreachable'].title);
  });

  it('cast doubt on the connection only when nobody answered', () => {
    expect(castsDoubtOnChannel(failure(status.UNAVAILABLE), false)).to.equal(true);
    expect(castsDoubtOnChannel(failure(status.UNAVAILABLE, 'console-busy'), true)).to.equal(false);
    expect(castsDoubtOnChannel(failure(status.DEADLINE_EXCEEDED), true)).to.equal(true);
    expect(castsDoubtOnChannel(failure(status.DEADLINE_EXCEEDED), false)).to.equal(false);
    expect(castsDoubtOnChannel(failure(status.NOT_FOUND), true)).to.equal(false);
  });
});

describe('address of an agent', () => {
  const row = {
    id: 'row-1',
    ip_address: '10.0.0.1',
    port: 50051,
    tls_mode: 'pinned' as const,
    tls_fingerprint: null,
    token: null,
  };
  const openToken = (sealed: string) => `open:${sealed}`;

  it('takes what Postgres writes for an inet, with or without the prefix', () => {
    expect(agentAddress(row, openToken).host).to.equal('10.0.0.1');
    expect(agentAddress({ ...row, ip_address: '10.0.0.1/32' }, openToken).host).to.equal('10.0.0.1');
    expect(agentAddress({ ...row, ip_address: 'fd00::1/128' }, openToken).host).to.equal('fd00::1');
  });

  it('unseals the token, and asks for none where there is none', () => {
    expect(agentAddress({ ...row, token: 'sealed' }, openToken).token).to.equal('open:sealed');
    expect(agentAddress(row, openToken).token).to.equal(null);
  });

  it('reads a fingerprint in every notation in use', () => {
    for (const written of ['AB:CD:EF', 'sha256:abcdef', 'SHA-256=ABCDEF', ' abcdef ']) {
      expect(agentAddress({ ...row, tls_fingerprint: written }, openToken).tls_fingerprint).to.equal(
        'abcdef',
      );
    }
  });
});

function failure(code: status, reason?: string): StatusObject {
  const metadata = new Metadata();
  if (reason !== undefined) metadata.set(REASON_KEY, reason);
  return { code, details: '', metadata };
}
