import { type Artifact, ArtifactKind, type ProvisionWork, type ServerSettings } from '#proto/gen/agent.js';

/** A jar that runs as it is; whatever is not said is not known. */
export function jarArtifact(known: Partial<Artifact>): Artifact {
  return {
    url: '',
    sha512: '',
    sha256: '',
    sha1: '',
    md5: '',
    sizeBytes: 0,
    fileName: 'server.jar',
    kind: ArtifactKind.JAR,
    ...known,
  };
}

/** Without a Java of its own: whatever the host has. */
export function provisionWork(artifact: Artifact, settings: ServerSettings): ProvisionWork {
  return { artifact, settings, minecraftVersion: '1.21.11', java: undefined, serverType: 'vanilla' };
}
