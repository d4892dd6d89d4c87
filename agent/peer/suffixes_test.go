package peer

import (
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// collapsed is what names are told as. Each rule of the list must have one here.
var collapsed = map[string]string{
	"10-1-2-3.shop.pod.cluster.local":                   "*.shop.pod.cluster.local",
	"2001-db8--1.shop.pod.cluster.local":                "*.shop.pod.cluster.local",
	"10-1-2-3.db.shop.svc.cluster.local":                "*.db.shop.svc.cluster.local",
	"ec2-1-2-3-4.compute-1.amazonaws.com":               "*.compute-1.amazonaws.com",
	"ec2-1-2-3-4.us-west-2.compute.amazonaws.com":       "*.us-west-2.compute.amazonaws.com",
	"ec2-1-2-3-4.cn-north-1.compute.amazonaws.com.cn":   "*.cn-north-1.compute.amazonaws.com.cn",
	"ip-10-0-0-1.ec2.internal":                          "*.ec2.internal",
	"ip-10-0-0-1.eu-west-1.compute.internal":            "*.eu-west-1.compute.internal",
	"shop-1234567890.us-east-1.elb.amazonaws.com":       "*.us-east-1.elb.amazonaws.com",
	"dualstack.shop-12.us-east-1.elb.amazonaws.com":     "*.us-east-1.elb.amazonaws.com",
	"shop-0123456789abcdef.elb.us-east-1.amazonaws.com": "*.elb.us-east-1.amazonaws.com",
	"d111abcdef8.cloudfront.net":                        "*.cloudfront.net",
	"server-1-2-3-4.fra50.r.cloudfront.net":             "*.fra50.r.cloudfront.net",
	"shop-abc123.azureedge.net":                         "*.azureedge.net",
	"5a1b2c.cloudapp.net":                               "*.cloudapp.net",
	"fra16s50-in-f14.1e100.net":                         "*.1e100.net",
	"4.3.2.1.bc.googleusercontent.com":                  "*.bc.googleusercontent.com",
	"doc-0s-1k-apps-viewer.googleusercontent.com":       "*.googleusercontent.com",
	"e1234.a.akamaiedge.net":                            "*.akamaiedge.net",
	"a1.b.akamai.net":                                   "*.akamai.net",
	"1-2-3-4.ip.linodeusercontent.com":                  "*.ip.linodeusercontent.com",
	"static.4.3.2.1.clients.your-server.de":             "*.clients.your-server.de",
	"vps-0a1b2c3d.vps.ovh.net":                          "*.vps.ovh.net",
	"a1-2-3-4.deploy.static.akamaitechnologies.com":     "*.deploy.static.akamaitechnologies.com",
}

// kept are names that stay whole, and the domain of which too many names collapse. Each keep of the list must have one here.
var kept = map[string]string{
	"db.shop.svc.cluster.local":                         "shop.svc.cluster.local",
	"db-0.db.shop.svc.cluster.local":                    "shop.svc.cluster.local",
	"bucket.s3.amazonaws.com":                           "bucket.s3.amazonaws.com",
	"s3.amazonaws.com":                                  "",
	"bucket.s3.us-west-2.amazonaws.com":                 "bucket.s3.us-west-2.amazonaws.com",
	"bucket.s3.xx-new-9.amazonaws.com":                  "bucket.s3.xx-new-9.amazonaws.com",
	"bucket.s3.dualstack.xx-new-9.amazonaws.com":        "bucket.s3.dualstack.xx-new-9.amazonaws.com",
	"in-1234.s3-accesspoint.us-east-1.amazonaws.com":    "in-1234.s3-accesspoint.us-east-1.amazonaws.com",
	"db.c9akciq32.xx-new-9.rds.amazonaws.com":           "c9akciq32.xx-new-9.rds.amazonaws.com",
	"abc123.execute-api.xx-new-9.amazonaws.com":         "abc123.execute-api.xx-new-9.amazonaws.com",
	"abc123.lambda-url.eu-west-1.on.aws":                "abc123.lambda-url.eu-west-1.on.aws",
	"bucket.vpce-1a-2b.s3.us-east-1.vpce.amazonaws.com": "vpce-1a-2b.s3.us-east-1.vpce.amazonaws.com",
	"sqs.us-east-1.amazonaws.com":                       "sqs.us-east-1.amazonaws.com",
	"ec2-300-2-3-4.compute-2.amazonaws.com":             "amazonaws.com",
	"www.cloudfront.net":                                "www.cloudfront.net",
	"account.blob.core.windows.net":                     "account.blob.core.windows.net",
	"account.file.core.windows.net":                     "account.file.core.windows.net",
	"account.queue.core.windows.net":                    "account.queue.core.windows.net",
	"account.table.core.windows.net":                    "account.table.core.windows.net",
	"account.dfs.core.windows.net":                      "account.dfs.core.windows.net",
	"account.z6.web.core.windows.net":                   "account.z6.web.core.windows.net",
	"account.z6.blob.storage.azure.net":                 "account.z6.blob.storage.azure.net",
	"shop.database.windows.net":                         "shop.database.windows.net",
	"shop.documents.azure.com":                          "shop.documents.azure.com",
	"shop.servicebus.windows.net":                       "shop.servicebus.windows.net",
	"shop.vault.azure.net":                              "shop.vault.azure.net",
	"shop.azurecr.io":                                   "shop.azurecr.io",
	"shop.openai.azure.com":                             "shop.openai.azure.com",
	"shop.azurewebsites.net":                            "shop.azurewebsites.net",
	"shop.sharepoint.com":                               "shop.sharepoint.com",
	"bucket.storage.googleapis.com":                     "bucket.storage.googleapis.com",
	"storage.googleapis.com":                            "",
	"shop-abc.a.run.app":                                "shop-abc.a.run.app",
	"shop.cloudfunctions.net":                           "shop.cloudfunctions.net",
	"shop.firebaseio.com":                               "shop.firebaseio.com",
	"bucket.account.r2.cloudflarestorage.com":           "account.r2.cloudflarestorage.com",
	"pub-1.r2.dev":                                      "pub-1.r2.dev",
	"prog.account.workers.dev":                          "account.workers.dev",
	"bucket.nyc3.digitaloceanspaces.com":                "bucket.nyc3.digitaloceanspaces.com",
	"bucket.eu-central-1.linodeobjects.com":             "bucket.eu-central-1.linodeobjects.com",
	"bucket.s3.us-west-004.backblazeb2.com":             "bucket.s3.us-west-004.backblazeb2.com",
	"bucket.s3.wasabisys.com":                           "bucket.s3.wasabisys.com",
	"bucket.s3.eu-central-2.wasabisys.com":              "bucket.s3.eu-central-2.wasabisys.com",
	"bucket.oss-cn-hangzhou.aliyuncs.com":               "bucket.oss-cn-hangzhou.aliyuncs.com",
	"bucket-1250000000.cos.ap-beijing.myqcloud.com":     "bucket-1250000000.cos.ap-beijing.myqcloud.com",
	"org-account.snowflakecomputing.com":                "org-account.snowflakecomputing.com",
	"abc.ngrok.io":                                      "abc.ngrok.io",
	"abc.ngrok.app":                                     "abc.ngrok.app",
	"abc.ngrok-free.app":                                "abc.ngrok-free.app",
	"some-words.trycloudflare.com":                      "some-words.trycloudflare.com",

	"api.example.com":                  "example.com",
	"a.b.c.example.co.uk":              "example.co.uk",
	"example.co.uk":                    "example.co.uk",
	"co.uk":                            "",
	"localhost":                        "",
	"db.corp":                          "db.corp",
	"10.0.0.1":                         "",
	"10-1-2.shop.pod.cluster.local":    "cluster.local",
	"a10-1-2-3.shop.pod.cluster.local": "cluster.local",
	"shop.user.github.io":              "user.github.io",
	"amazonaws.com":                    "amazonaws.com",
	"evil-amazonaws.com":               "evil-amazonaws.com",
	"ec2-1-2-3-4.compute-1.amazonaws.com.evil.example": "evil.example",
}

func list(t testing.TB) suffixes {
	t.Helper()
	s, err := parseSuffixes(suffixList, "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuffixes(t *testing.T) {
	s := list(t)
	for name, want := range collapsed {
		if got := s.collapse(name); got != want {
			t.Errorf("%s is told as %s, want %s", name, got, want)
		}
	}
	for name, want := range kept {
		if got := s.collapse(name); got != name {
			t.Errorf("%s is told as %s, want it whole", name, got)
		}
		if got := s.domain(name); got != want {
			t.Errorf("domain of %s is %q, want %q", name, got, want)
		}
	}
}

// Every rule of the list has a reason, is not there twice, is not above a public suffix, and is what decides for some name of this test.
func TestSuffixList(t *testing.T) {
	var all []suffixRule
	for _, rules := range list(t) {
		all = append(all, rules...)
	}
	if len(all) < 50 {
		t.Fatalf("%d rules", len(all))
	}
	seen := map[string]int{}
	for _, r := range all {
		suffix := strings.Join(r.labels, ".")
		if r.reason == "" {
			t.Errorf("line %d: no reason", r.line)
		}
		if other := seen[r.machine+" "+suffix]; other > 0 {
			t.Errorf("line %d: repeats line %d", r.line, other)
		}
		seen[r.machine+" "+suffix] = r.line
		concrete := strings.ReplaceAll(suffix, "*", "x")
		if public, icann := publicsuffix.PublicSuffix(concrete); icann && public == concrete {
			t.Errorf("line %d: everybody may register under %s", r.line, suffix)
		}
		needed := func(name string) bool {
			before := r.before(name)
			return before > 0 && (r.machine == "" && kept[name] != "" || r.machine != "" && collapsed[name] != "" && r.machineMade(name[:before-1]))
		}
		used := false
		for name := range collapsed {
			used = used || needed(name)
		}
		for name := range kept {
			used = used || needed(name)
		}
		if !used {
			t.Errorf("line %d: no name of this test needs the rule", r.line)
		}
	}
	// Of a rule that collapses everything below a suffix, nothing that is kept may be a part, unless the kept suffix is the longer one.
	for _, c := range all {
		for _, k := range all {
			suffix := strings.ReplaceAll(strings.Join(k.labels, "."), "*", "x")
			if c.machine == "**" && k.machine == "" && c.before(suffix) >= 0 && len(c.labels) >= len(k.labels) {
				t.Errorf("line %d collapses what line %d keeps", c.line, k.line)
			}
		}
	}
}

func TestSuffixListRefuses(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if _, err := parseSuffixes("keep a.example # fine\n"+line, "cluster.local"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", line, err)
		}
	}
	f("drop a.example", "neither")
	f("collapse a.example", "neither")
	f("keep com", "no suffix")
	f("keep a..example", "no suffix")
	f("keep example.*", "no suffix")
	f("collapse {what} a.example", "no pattern")
	f("collapse {ip a.example", "no pattern")
	f("collapse {ip}.{n} a.example", "no pattern")
}

func TestSuffixesFollowTheClusterDomain(t *testing.T) {
	s, err := parseSuffixes(suffixList, "K8s.corp.example.")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.collapse("10-1-2-3.shop.pod.k8s.corp.example"); got != "*.shop.pod.k8s.corp.example" {
		t.Error(got)
	}
	if got := s.domain("db.shop.svc.k8s.corp.example"); got != "shop.svc.k8s.corp.example" {
		t.Error(got)
	}
}

// Whatever the name, what stands for it is itself, or a part of it that is no public suffix; and the domain is a part of it.
func FuzzSuffixes(f *testing.F) {
	for name := range collapsed {
		f.Add(name)
	}
	for name := range kept {
		f.Add(name)
	}
	s := list(f)
	f.Fuzz(func(t *testing.T, name string) {
		var d dnsName
		if len(name) > len(d.text) {
			return
		}
		d.n = uint8(copy(d.text[:], name))
		if !d.hostName() {
			return
		}
		if domain := s.domain(name); domain != "" && domain != name && !strings.HasSuffix(name, "."+domain) {
			t.Fatalf("domain of %q is %q", name, domain)
		}
		told := s.collapse(name)
		if told == name {
			return
		}
		rest := strings.TrimPrefix(told, "*.")
		if public, icann := publicsuffix.PublicSuffix(rest); rest == told || !strings.HasSuffix(name, "."+rest) || icann && public == rest {
			t.Fatalf("%q is told as %q", name, told)
		}
	})
}
