# One image for every process of AYMC: api | worker | agent | migrate | seed | register-agent.
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Why not npm ci: see installWhenStale in processes/bootstrap.mjs.
RUN npm install --no-save --include=dev --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY activities activities
COPY agent agent
COPY migrations migrations
COPY processes processes
COPY proto proto
COPY src src
COPY workflows workflows
RUN node processes/bootstrap.mjs build && npm prune --omit=dev --no-audit --no-fund

FROM eclipse-temurin:21-jre-jammy AS java

FROM node:22-bookworm-slim
# util-linux has flock and setpriv, which the guards of Minecraft servers are made of.
RUN apt-get update \
 && apt-get install -y --no-install-recommends util-linux ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o node -g node -m 0700 /data
COPY --from=java /opt/java/openjdk /opt/java/openjdk
COPY --from=build /app/package.json /app/package.json
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
COPY docker/entrypoint.sh /usr/local/bin/aymc
ENV ENV=production \
    HOST=0.0.0.0 \
    AYMC_DATA_DIR=/data \
    AYMC_WORKFLOW_BUNDLE=/app/dist/workflow-bundle.js \
    AGENT_HOST=0.0.0.0 \
    AGENT_WORK_DIR=/data/agent \
    JAVA_HOME=/opt/java/openjdk \
    PATH=/opt/java/openjdk/bin:$PATH
WORKDIR /data
USER node
VOLUME /data
EXPOSE 8080 50051
ENTRYPOINT ["aymc"]
CMD ["api"]
