# The usual names. npm scripts do the work, and install and compile what is missing before they do.
.PHONY: help run test test-unit test-integration test-e2e check fuzz bench build migrate-up migrate-down seed \
	docker-build docker-up docker-down deploy-staging deploy-prod

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

run: ## Everything on this machine: database, Temporal, API, worker and an agent
	npm start
test: ## All tests
	npm test
test-unit: ## Tests that need nothing but Node
	npm test -- unit
test-integration: ## Tests against real Postgres, Temporal and agents
	npm run test-integration
test-e2e: ## Tests of the whole, with Minecraft servers
	npm run test-e2e
check: ## All that can be said without running it
	npm run check
fuzz: ## Requests made up from the OpenAPI document, at length
	npm run fuzz
bench: ## The figures that the project promises
	npm run bench
build: ## Compile into dist/
	npm run build
migrate-up: ## Bring the database of DATABASE_URL up to date
	npm run migrate -- up
migrate-down: ## Take its last migration back
	npm run migrate -- down
seed: ## The first accounts
	npm run seed
docker-build: ## The image that every process runs from
	docker build -t aymc .
docker-up: ## The whole installation of docker-compose.yml
	docker compose up --detach --build --wait
docker-down: ## End it; its data stays
	docker compose down
deploy-staging: ENVIRONMENT = staging
deploy-prod: ENVIRONMENT = prod
deploy-staging: ## Apply deploy/staging to the cluster that kubectl points to
deploy-prod: ## Apply deploy/prod to it
deploy-staging deploy-prod:
	@test -f deploy/$(ENVIRONMENT)/kustomization.yaml || \
		{ echo 'There is no deploy/$(ENVIRONMENT)/kustomization.yaml to apply.' >&2; exit 1; }
	@command -v kubectl >/dev/null || { echo 'kubectl is not on PATH.' >&2; exit 1; }
	kubectl apply -k deploy/$(ENVIRONMENT)
