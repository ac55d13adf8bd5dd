import type { X509Certificate } from 'node:crypto';
import { once, type EventEmitter } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import { credentials, type ChannelCredentials } from '@grpc/grpc-js';
import { AppError, assertNever } from '#src/domain/errors.js';
import { normalFingerprint } from './address.js';
import type { AgentAddress } from './gateway.js';

/**
 * Agents are dialled by IP address, which is no legal SNI name. This one is in every certificate that a version 1
 * agent makes for itself; nobody checks it.
 */
export const SERVER_NAME = 'localhost';

/**
 * Makes sure that somebody answers there, and says what to trust. grpc-js puts no limit to connecting: a SYN that
 * falls into a dead network waits for the kernel's own back-off (up to a minute between tries) long after the host is
 * back, and a peer that accepts but hangs costs a socket for ever. So every channel begins with a handshake of our
 * own, as far as the peer's first HTTP/2 frame; its socket dies with the signal.
 *
 * Rejects with the signal's reason, `agent-unreachable`, or `agent-tls` when the peer is not the one that was pinned.
 */
export async function dial(agent: AgentAddress, signal: AbortSignal): Promise<ChannelCredentials> {
  const socket = openSocket(agent);
  try {
    await happened(socket, agent.tls_mode === 'plaintext' ? 'connect' : 'secureConnect', signal);
    const trusted = trust(agent, socket);
    await greeted(socket, signal);
    return trusted;
  } finally {
    socket.destroy();
  }
}

function openSocket({ host, port, tls_mode }: AgentAddress): Socket {
  if (tls_mode === 'plaintext') return connectTcp({ host, port });
  // Whom to reject is decided below, by the pin.
  return connectTls({
    host,
    port,
    servername: SERVER_NAME,
    ALPNProtocols: ['h2'],
    rejectUnauthorized: false,
  });
}

/**
 * A pinned certificate becomes the only root, whatever name it bears. A fingerprint check inside grpc-js would not do:
 * for a self-signed certificate it never calls `checkServerIdentity`, and with `rejectUnauthorized: false` a refusal
 * there is ignored.
 */
function trust(agent: AgentAddress, socket: Socket): ChannelCredentials {
  const checkServerIdentity = () => undefined;
  switch (agent.tls_mode) {
    case 'plaintext':
      return credentials.createInsecure();
    case 'insecure':
      return credentials.createSsl(null, null, null, { rejectUnauthorized: false, checkServerIdentity });
    case 'pinned': {
      const ca = pinnedCertificate(agent, socket).toString();
      const context = createSecureContext({ ca, allowPartialTrustChain: true });
      return credentials.createFromSecureContext(context, { checkServerIdentity });
    }
    default:
      return assertNever(agent.tls_mode);
  }
}

function pinnedCertificate({ tls_fingerprint }: AgentAddress, socket: Socket): X509Certificate {
  const pin = normalFingerprint(tls_fingerprint ?? '');
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
  if (certificate === undefined) {
    throw new AppError('agent-tls', { detail: 'The agent shows no certificate' });
  }
  const shown = normalFingerprint(certificate.fingerprint256);
  if (shown !== pin) {
    const expected = pin === '' ? 'no certificate is pinned' : 'another one is pinned';
    throw new AppError('agent-tls', { detail: `The agent shows the certificate ${shown}, but ${expected}` });
  }
  return certificate;
}

/** An agent that is stopped or stuck still has its connections accepted by the kernel; this only itself can send. */
async function greeted(socket: Socket, signal: AbortSignal): Promise<void> {
  const session = connectHttp2(`http://${SERVER_NAME}`, { createConnection: () => socket });
  try {
    await happened(session, 'remoteSettings', signal);
  } finally {
    // What it still has to say about its own end interests nobody.
    session.on('error', () => undefined);
    session.destroy();
  }
}

async function happened(emitter: EventEmitter, event: string, signal: AbortSignal): Promise<void> {
  const closed = new AbortController();
  const onClose = () => closed.abort();
  emitter.once('close', onClose);
  try {
    await once(emitter, event, { signal: AbortSignal.any([signal, closed.signal]) });
  } catch (error) {
    throw dialError(error, signal);
  } finally {
    emitter.removeListener('close', onClose);
  }
}

function dialError(error: unknown, signal: AbortSignal): AppError {
  if (signal.reason instanceof AppError) return signal.reason;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  if (/^(ERR_SSL_|ERR_TLS_|EPROTO$)/.test(code)) {
    return new AppError('agent-tls', { detail: 'The agent does not speak TLS', cause: error });
  }
  const reason = code === 'ABORT_ERR' ? 'the agent hung up' : code;
  return new AppError('agent-unreachable', { detail: `Connecting failed: ${reason}`, cause: error });
}
