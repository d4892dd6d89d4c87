package inventory

import "github.com/ambit-nhi/ambit/event"

// builtin are rules for names that are the same in most places. They come behind those of the configuration.
var builtin = ready(
	// Parts of Kubernetes itself.
	on("namespace", "kube-system", "kube-public", "kube-node-lease").sets("owner", "kubernetes").sets("environment", "platform").sets("domain", string(event.DomainOther)),
	on("name", "default").sets("purpose", "made by Kubernetes for pods that name no service account"),

	// Environments by the usual names of namespaces.
	on("namespace", "prod", "production", "prod-*", "*-prod", "production-*", "*-production").sets("environment", "production"),
	on("namespace", "stage", "staging", "stage-*", "*-stage", "staging-*", "*-staging", "qa", "uat", "preprod", "*-preprod").sets("environment", "staging"),
	on("namespace", "dev", "development", "dev-*", "*-dev", "test", "test-*", "*-test", "sandbox", "sandbox-*", "*-sandbox").sets("environment", "development"),

	// What builds and deploys.
	on("namespace", "ci", "ci-*", "*-ci", "jenkins", "gitlab-runner", "tekton-pipelines", "argocd", "argo-cd", "flux-system", "actions-runner-system", "arc-*").sets("domain", string(event.DomainCI)),
	on("name", "jenkins", "jenkins-*", "gitlab-runner", "gitlab-runner-*", "github-actions", "github-actions-*", "actions-runner", "actions-runner-*",
		"argocd-*", "tekton-*", "buildkite-*", "circleci-*").sets("domain", string(event.DomainCI)),

	// What acts by a model's choice.
	on("name", "ai-agent", "ai-agent-*", "*-ai-agent", "llm-agent", "llm-agent-*", "*-llm-agent", "mcp-*", "*-mcp-server").sets("domain", string(event.DomainAgent)),

	on("identity", "x509://*").sets("domain", string(event.DomainCertificate)),
	on("namespace", "dev", "development", "dev-*", "*-dev", "test", "test-*", "*-test", "sandbox", "sandbox-*", "*-sandbox",
		"stage", "staging", "stage-*", "*-stage", "staging-*", "*-staging", "qa", "uat", "preprod", "*-preprod").sets("domain", string(event.DomainOther)),
	on("identity", "spiffe://*/ns/*/sa/*").sets("domain", string(event.DomainService)),
	on("source", string(event.SourceKubernetes), string(event.SourceSPIRE)).sets("domain", string(event.DomainService)),
)

func ready(rules ...rule) []rule {
	for i := range rules {
		rules[i] = rules[i].ready()
	}
	return rules
}

func on(key string, patterns ...string) rule {
	return rule{match: map[string][]string{key: patterns}, set: map[string]string{}}
}

func (r rule) sets(name, value string) rule {
	r.set[name] = value
	return r
}
