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
    javaMajor: 0,
    contact: '',
    ...known,
  };
}

/** Without a Java of its own: whatever the host has. */
export function provisionWork(artifact: Artifact, settings: ServerSettings): ProvisionWork {
  return {
    artifact,
    settings,
    minecraftVersion: '1.21.11',
    java: undefined,
    javaMajor: 0,
    javaPinned: false,
    serverType: 'vanilla',
  };
}
