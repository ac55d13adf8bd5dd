import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export interface SmtpServer {
  url: string;
  /** What was taken, in order: envelope and message. */
  readonly mails: { to: string; message: string }[];
  /** Connections until now, refused ones among them. */
  readonly attempts: number;
  /** The next so many mails are refused, as by a server that is busy. */
  refuse(times: number): void;
  close(): Promise<void>;
}

/** RFC 5321 as far as one plain mail goes, so that a real client has a real peer. */
export async function startSmtpServer(): Promise<SmtpServer> {
  const mails: SmtpServer['mails'] = [];
  const sockets = new Set<Socket>();
  let attempts = 0;
  let refusals = 0;

  function serve(socket: Socket): void {
    attempts += 1;
    sockets.add(socket.setEncoding('utf8'));
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
    let pending = '';
    let to = '';
    let message: string[] | null = null;
    const say = (line: string) => socket.write(`${line}\r\n`);

    function obey(line: string): void {
      if (message) {
        if (line !== '.') return void message.push(line);
        mails.push({ to, message: message.join('\r\n') });
        message = null;
        say('250 taken');
      } else if (/^RCPT TO:<(.+)>/i.test(line)) {
        to = /<(.+)>/.exec(line)?.[1] ?? '';
        say('250 ok');
      } else if (/^DATA/i.test(line)) {
        if (refusals > 0) {
          refusals -= 1;
          say('451 come again later');
        } else {
          message = [];
          say('354 go on');
        }
      } else {
        say(/^QUIT/i.test(line) ? '221 bye' : '250 ok');
      }
    }

    socket.on('data', (text: string) => {
      const lines = (pending + text).split('\r\n');
      pending = lines.pop() ?? '';
      lines.forEach(obey);
    });
    say('220 test');
  }

  const server = createServer(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the mail server got no port');
  return {
    url: `smtp://127.0.0.1:${address.port}`,
    mails,
    get attempts() {
      return attempts;
    },
    refuse: times => void (refusals = times),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
