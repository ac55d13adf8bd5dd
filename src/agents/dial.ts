import type { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext } from 'node:tls';
import { credentials, type ChannelCredentials } from '@grpc/grpc-js';
import { AppError } from '#src/domain/errors.js';
import { normalFingerprint } from './address.js';
import type { AgentAddress } from './gateway.js';

/**
 * Agents are dialled by IP address, which is no legal SNI name. This one is in every certificate that a version 1
 * agent makes for itself; nobody checks it.
 */
export const SERVER_NAME = 'localhost';

const HTTP2 = ['h2'];

/**
 * Looks whether anybody listens, and says what to trust there. grpc-js sets no limit to connecting: a SYN that falls
 * into a dead network waits for the kernel's own back-off (up to a minute between tries) long after the host is back.
 * So every channel begins with this, whose socket dies with its signal.
 *
 * Rejects with the signal's reason, or `agent-unreachable` or, when the peer is not the one that was pinned, `agent-tls`.
 */
export async function dial(agent: AgentAddress, signal: AbortSignal): Promise<ChannelCredentials> {
  switch (agent.tls_mode) {
    case 'plaintext':
      await knock(agent, signal);
      return credentials.createInsecure();
    case 'insecure':
      await knock(agent, signal);
      return credentials.createSsl(null, null, null, { rejectUnauthorized: false, checkServerIdentity });
    case 'pinned':
      return trustOnly(await pinnedCertificate(agent, signal));
  }
}

/**
 * The certificate is the only root, whatever name it bears. A fingerprint check inside grpc-js would not do: for a
 * self-signed certificate it never calls `checkServerIdentity`, and with `rejectUnauthorized: false` a refusal there
 * is ignored.
 */
function trustOnly(certificate: X509Certificate): ChannelCredentials {
  const secureContext = createSecureContext({ ca: certificate.toString(), allowPartialTrustChain: true });
  return credentials.createFromSecureContext(secureContext, { checkServerIdentity });
}

function checkServerIdentity(): undefined {
  return undefined;
}

async function knock({ host, port }: AgentAddress, signal: AbortSignal): Promise<void> {
  const socket = connectTcp({ host, port });
  await settled(socket, 'connect', signal);
  socket.destroy();
}

async function pinnedCertificate(agent: AgentAddress, signal: AbortSignal): Promise<X509Certificate> {
  const { host, port } = agent;
  const pin = normalFingerprint(agent.tls_fingerprint ?? '');
  if (pin === '') throw new AppError('agent-tls', { detail: 'No fingerprint is pinned for this agent' });

  const socket = connectTls({
    host,
    port,
    servername: SERVER_NAME,
    ALPNProtocols: HTTP2,
    // The pin decides, right below.
    rejectUnauthorized: false,
  });
  await settled(socket, 'secureConnect', signal);
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  if (certificate === undefined) {
    throw new AppError('agent-tls', { detail: 'The agent shows no certificate' });
  }
  const shown = normalFingerprint(certificate.fingerprint256);
  if (shown !== pin) {
    throw new AppError('agent-tls', { detail: `The agent shows ${shown} instead of the pinned certificate` });
  }
  return certificate;
}

async function settled(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<void> {
  try {
    await once(socket, event, { signal });
  } catch (error) {
    socket.destroy();
    throw dialError(error, signal);
  }
}

function dialError(error: unknown, signal: AbortSignal): AppError {
  if (signal.reason instanceof AppError) return signal.reason;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  if (/^(ERR_SSL_|ERR_TLS_|EPROTO$)/.test(code)) {
    return new AppError('agent-tls', { detail: 'The agent does not speak TLS', cause: error });
  }
  return new AppError('agent-unreachable', { detail: `Connecting failed: ${code}`, cause: error });
}
