package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"selvage/internal/policy/source"
)

// TestParseErrors checks that mistakes are refused, where, and with which words.
func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", ``, "policy:1:1: syntax:"},
		{"not an object", `[]`, "policy:1:1: the policy must be an object"},
		{"unclosed", "{\n  \"groups\": {", "policy:2:14: syntax:"},
		{"not UTF-8", "{\"\xff\": 1}", "policy:1:1: the text is not valid UTF-8"},
		{"unknown section", "{\n  // sections\n  \"grnats\": []\n}", `policy:3:3: the policy: unknown field "grnats"; did you mean "grants"?`},
		{"unknown section without a near one", `{"xyzzy": 1}`, `policy:1:2: the policy: unknown field "xyzzy"; known are groups, `},
		{"section twice", `{"acls": [], "acls": []}`, `policy:1:14: the policy: "acls" is given twice; keep one of them`},
		{"section twice in another case", `{"acls": [], "ACLs": []}`, `policy:1:14: the policy: "acls" is given twice`},
		{"columns are characters", `{"hosts": {"äöü": "1.2.3.4"}, "zzz": 1}`, `policy:1:31: the policy: unknown field "zzz"`},
		{"rule's field", `{"acls": [{"action": "accept", "scr": ["*"], "dst": ["*:*"]}]}`, `policy:1:32: acls[0]: unknown field "scr"; did you mean "src"?`},
		{"action", `{"acls": [{"action": "deny", "src": ["*"], "dst": ["*:*"]}]}`, `policy:1:22: acls[0]: "deny" is not a valid action`},
		{"no action", `{"acls": [{"src": ["*"], "dst": ["*:*"]}]}`, `policy:1:11: acls[0]: "" is not a valid action`},
		{"both names of a field", `{"acls": [{"action": "accept", "src": ["*"], "users": ["*"], "dst": ["*:*"]}]}`, `"src" and "users" mean the same`},
		{"list wanted", `{"acls": {}}`, "policy:1:10: acls must be a list"},
		{"string wanted", `{"groups": {"group:a": [1]}}`, `policy:1:25: groups["group:a"] must be a string`},
		{"group unknown", `{"groups": {"group:ops": []}, "acls": [{"action": "accept", "src": ["group:op"], "dst": ["*:*"]}]}`, `src=group not found: "group:op"; did you mean "group:ops"?`},
		{"tag unknown", `{"grants": [{"src": ["tag:x"], "dst": ["*"], "ip": ["*"]}]}`, `src=tag not found: "tag:x"; add "tag:x": ["autogroup:admin"] to "tagOwners"`},
		{"group in a group", `{"groups": {"group:a": ["group:b"], "group:b": []}}`, `groups["group:a"]: "group:b": group members cannot be recursive`},
		{"tag in a group", `{"groups": {"group:a": ["tag:b"]}}`, `"tag:b" is not a login name`},
		{"group without prefix", `{"groups": {"ops": []}}`, `group names must start with 'group:'; write "group:ops"`},
		{"tag without prefix", `{"tagOwners": {"web": []}}`, `tag names must start with 'tag:'; write "tag:web"`},
		{"tag of digits", `{"tagOwners": {"tag:1a": []}}`, `tag names must start with a letter, after 'tag:'`},
		{"tag of nothing", `{"tagOwners": {"tag:": []}}`, `tag names must start with a letter`},
		{"tag with a space", `{"tagOwners": {"tag:a b": []}}`, `tag names have letters, digits and dashes`},
		{"owner that is an address", `{"tagOwners": {"tag:a": ["10.0.0.1"]}}`, `"10.0.0.1" cannot be an owner`},
		{"host", `{"hosts": {"a": "10.0.0.300"}}`, `hosts["a"]: "10.0.0.300": invalid address`},
		{"host named like an address", `{"hosts": {"10.0.0.1": "10.0.0.2"}}`, `an address cannot be a name`},
		{"host named like a selector", `{"hosts": {"tag:a": "10.0.0.2"}}`, `hosts["tag:a"]: not a name`},
		{"address with a zone", `{"grants": [{"src": ["fe80::1%eth0"], "dst": ["*"], "ip": ["*"]}]}`, `"fe80::1%eth0": invalid address`},
		{"IPv4 as IPv6", `{"grants": [{"src": ["::ffff:10.0.0.1"], "dst": ["*"], "ip": ["*"]}]}`, `"::ffff:10.0.0.1": invalid address`},
		{"range backwards", `{"grants": [{"src": ["10.0.0.9-10.0.0.1"], "dst": ["*"], "ip": ["*"]}]}`, `invalid address`},
		{"all addresses", `{"grants": [{"src": ["*"], "dst": ["0.0.0.0/0"], "ip": ["*"]}]}`, `dst "0.0.0.0/0": to allow all IP addresses, use "*" or "autogroup:internet"`},
		{"all addresses as a host", `{"hosts": {"all": "::/0"}, "grants": [{"src": ["all"], "dst": ["*"], "ip": ["*"]}]}`, `src "all": to allow all IP addresses`},
		{"port missing", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*"]}]}`, `dst="*": no port`},
		{"port name", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:ssh"]}]}`, `dst="*:ssh": port range "ssh": invalid first integer`},
		{"port too high", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:65536"]}]}`, `port range "65536": invalid first integer`},
		{"port range backwards", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["90-80"]}]}`, `the first is above the last`},
		{"port of ICMP", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["icmp:8"]}]}`, `the protocol has no ports; write "icmp:*"`},
		{"protocol", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["tpc:80"]}]}`, `unknown protocol "tpc"`},
		{"no protocol before the colon", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": [":80"]}]}`, `no protocol before the colon`},
		{"grant of nothing", `{"grants": [{"src": ["*"], "dst": ["*"]}]}`, `grants[0]: ip and app can not both be empty`},
		{"capability without a domain", `{"grants": [{"src": ["*"], "dst": ["*"], "app": {"cap": [{}]}}]}`, `must have the form {domain}/{path}`},
		{"capability of the server", `{"grants": [{"src": ["*"], "dst": ["*"], "app": {"tailscale.com/cap/drive-sharer": [{}]}}]}`, `must not be in the tailscale.com domain`},
		{"autogroup", `{"grants": [{"src": ["autogroup:members2"], "dst": ["*"], "ip": ["*"]}]}`, `unknown autogroup "autogroup:members2"; did you mean "autogroup:member"?`},
		{"self as a source", `{"grants": [{"src": ["autogroup:self"], "dst": ["*"], "ip": ["*"]}]}`, `"autogroup:self" not valid on the src side of a rule`},
		{"self for tags", `{"tagOwners": {"tag:a": []}, "grants": [{"src": ["tag:a"], "dst": ["autogroup:self"], "ip": ["*"]}]}`, `autogroup:self can only be used with users, groups, or supported autogroups`},
		{"internet as a source", `{"grants": [{"src": ["autogroup:internet"], "dst": ["*"], "ip": ["*"]}]}`, `valid only as a destination`},
		{"danger as a destination", `{"grants": [{"src": ["*"], "dst": ["autogroup:danger-all"], "ip": ["*"]}]}`, `valid only as a source`},
		{"nonroot in a rule", `{"grants": [{"src": ["autogroup:nonroot"], "dst": ["*"], "ip": ["*"]}]}`, `valid only in the users of ssh rules`},
		{"posture", `{"postures": {"posture:ok": ["node:os IS SET"]}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"], "srcPosture": ["posture:ko"]}]}`, `srcPosture=posture not found: "posture:ko"; did you mean "posture:ok"?`},
		{"default posture", `{"defaultSrcPosture": ["posture:x"]}`, `defaultSrcPosture=posture not found: "posture:x"; define it in "postures"`},
		{"posture name", `{"postures": {"ok": ["node:os IS SET"]}}`, `posture names must start with 'posture:'`},
		{"condition", `{"postures": {"posture:ok": ["node:os is linux"]}}`, `postures["posture:ok"]: "node:os is linux": after the attribute comes`},
		{"via", `{"tagOwners": {"tag:a": []}, "grants": [{"src": ["*"], "dst": ["10.0.0.0/8"], "ip": ["*"], "via": ["tag:b"]}]}`, `via=tag not found: "tag:b"; did you mean "tag:a"?`},
		{"via a user", `{"grants": [{"src": ["*"], "dst": ["10.0.0.0/8"], "ip": ["*"], "via": ["ann@a.org"]}]}`, `via="ann@a.org": not a tag`},
		{"IP set", `{"ipsets": {"ipset:y": []}, "grants": [{"src": ["ipset:x"], "dst": ["*"], "ip": ["*"]}]}`, `src=IP set not found: "ipset:x"; did you mean "ipset:y"?`},
		{"IP set's entry", `{"ipsets": {"ipset:y": ["sub 10.0.0.1"]}}`, `"sub" is neither add nor remove`},
		{"IP set's address", `{"ipsets": {"ipset:y": ["office"]}}`, `ipsets["ipset:y"]: "office": invalid address`},
		{"IP set's part", `{"ipsets": {"ipset:y": ["add ipset:z"]}}`, `IP set not found: "ipset:z"`},
		{"IP set in itself", `{"ipsets": {"ipset:y": ["ipset:z"], "ipset:z": ["remove ipset:y"]}}`, `the set contains itself`},
		{"IP set of everything", `{"ipsets": {"ipset:y": ["0.0.0.0/0"]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["ipset:y:*"]}]}`, `to allow all IP addresses`},
		{"IP set of an owner", `{"ipsets": {"ipset:y": ["10.0.0.1"]}, "tagOwners": {"tag:a": ["ipset:y"]}}`, `is valid only as a source or destination`},
		{"service as a source", `{"grants": [{"src": ["svc:web"], "dst": ["*"], "ip": ["*"]}]}`, `"svc:web" is valid only as a destination`},
		{"service name", `{"grants": [{"src": ["*"], "dst": ["svc:Web"], "ip": ["*"]}]}`, `not the name of a service`},
		{"service to approve", `{"autoApprovers": {"services": {"web": ["tag:a"]}}}`, `autoApprovers.services[web]: not the name of a service`},
		{"apps", `{"apps": {"a": {}}}`, `apps: this server has no web edge yet`},
		{"relays", `{"derpMap": {"Regions": {"1": {"RegionID": 1, "RegionCode": "x", "Nodes": [{"Name": "1", "RegionID": 1, "HostName": "a.b"}]}}}}`, `regions of one's own have IDs from 900 to 999`},
		{"relays' field", `{"derpMap": {"Region": {}}}`, `derpMap: json: unknown field "Region"`},
		{"relays' region", `{"derpMap": {"Regions": {"900": {"RegionID": 901}}}}`, `derpMap: region 900: RegionID must be 900`},
		{"CGNAT route", `{"oneCGNATRoute": "always"}`, `oneCGNATRoute: "always" is not known`},
		{"IP pool", `{"nodeAttrs": [{"target": ["*"], "ipPool": ["10.0.0.0/8"]}]}`, `10.0.0.0/8 is not within 100.64.0.0/10`},
		{"recorder's tag", `{"ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["a"], "recorder": ["ann@a.org"]}]}`, `invalid recorder "ann@a.org"`},
		{"recording by nobody", `{"ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["a"], "enforceRecorder": true}]}`, `enforceRecorder needs a recorder`},
		{"approver", `{"autoApprovers": {"routes": {"office": []}}}`, `autoApprovers.routes["office"]: not a network`},
		{"approvers' field", `{"autoApprovers": {"exitNodes": []}}`, `unknown field "exitNodes"; did you mean "exitNode"?`},
		{"ssh without users", `{"ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"]}]}`, "users must be specified"},
		{"ssh to anything", `{"ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["*"], "users": ["a"]}]}`, `invalid dst "*"`},
		{"failing test", "{\"grants\": [], \"tests\": [\n{\"src\": \"a@b.c\", \"accept\": [\"10.0.0.1:22\"]}]}", `policy:2:29: test(s) failed: a@b.c must reach 10.0.0.1:22, but no rule opens it`},
		{"failing denial", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:1-100"]}], "tests": [{"src": "a@b.c", "deny": ["10.0.0.1:22-200"]}]}`, `test(s) failed: a@b.c must not reach`},
		{"half of a range", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:1-100"]}], "tests": [{"src": "a@b.c", "accept": ["10.0.0.1:22-200"]}]}`, `must reach 10.0.0.1:22-200`},
		{"failing SSH test", `{"ssh": [], "sshTests": [{"src": "a@b.c", "dst": ["a@b.c"], "accept": ["root"]}]}`, `test(s) failed: a@b.c must log in to a@b.c as root`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.text)
			var pe *Error
			if !errors.As(err, &pe) {
				t.Fatalf("got %v; want an *Error", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestParseReportsAllMistakes(t *testing.T) {
	_, err := Parse("{\n\"hosts\": {\"a\": \"x\"},\n\"zzz\": 1,\n\"grants\": [{\"src\": [\"tag:a\"], \"dst\": [\"*\"], \"ip\": [\"0x1\"]}]}")
	var pe *Error
	if !errors.As(err, &pe) {
		t.Fatalf("got %v", err)
	}
	var lines []int
	for _, d := range pe.Diagnostics {
		lines = append(lines, d.Line)
	}
	if got := fmt.Sprint(lines); got != "[2 3 4 4 4]" {
		t.Errorf("lines %s of\n%v", got, err)
	}
}

func TestParseWarns(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no rules", `{}`, "policy:1:1: without acls and grants, every device may reach every other"},
		{"host misspelt", `{"hosts": {"office": "10.0.0.0/8"}, "grants": [{"src": ["*"], "dst": ["ofice"], "ip": ["*"]}]}`, `did you mean the host "office"?`},
		{"attribute", `{"grants": [], "postures": {"posture:a": ["node:oss == 'linux'"]}}`, `"node:oss" is not an attribute that this server sets; did you mean "node:os"?`},
		{"empty posture", `{"grants": [], "postures": {"posture:a": []}}`, `a posture without conditions holds for no device`},
		{"via to a tag", `{"tagOwners": {"tag:a": []}, "grants": [{"src": ["*"], "dst": ["tag:a"], "ip": ["*"], "via": ["tag:a"]}]}`, `via has no meaning for it`},
		{"shared", `{"grants": [{"src": ["autogroup:shared"], "dst": ["*"], "ip": ["*"]}]}`, `selects nothing`},
		{"derived attribute", `{"grants": [], "nodeAttrs": [{"target": ["*"], "attr": ["https://tailscale.com/cap/is-admin"]}]}`, `not set by a policy`},
		{"tests need roles", `{"grants": [{"src": ["autogroup:admin"], "dst": ["*"], "ip": ["*"]}], "tests": [{"src": "a@b.c", "accept": ["10.0.0.1:1"]}]}`, `depend on the roles`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, d := range p.Warnings() {
				if d.Severity != SeverityWarning {
					t.Errorf("%v has severity %s", d, d.Severity)
				}
				fmt.Fprintln(&all, d)
			}
			if !strings.Contains(all.String(), tt.want) {
				t.Errorf("got %q\nwant %s", all.String(), tt.want)
			}
		})
	}
}

// TestParseAccepts has what is allowed though it looks odd.
func TestParseAccepts(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"older names", `{"ACLs": [{"Action": "accept", "Users": ["*"], "Ports": ["*:*"]}], "TagOwners": {}}`},
		{"null sections", `{"acls": null, "groups": null, "ssh": null, "tests": null}`},
		{"comments and commas", "{ // a\n /* b // c */ \"acls\": [],\n}"},
		{"quotes and slashes in strings", `{"acls": [], "groups": {"group:\"//": []}}`},
		{"IPv6 with ports", `{"acls": [{"action": "accept", "src": ["fd7a::/48"], "dst": ["[fd7a::1]:22", "fd7a::2:80", "fd7a::/64:*"]}]}`},
		{"plain logins", `{"groups": {"group:a": ["alice", "bob@"]}, "grants": [{"src": ["carol"], "dst": ["group:a"], "ip": ["22"]}]}`},
		{"tags own tags", `{"acls": [], "tagOwners": {"tag:a": ["tag:b"], "tag:b": ["tag:a", "autogroup:admin"]}}`},
		{"approvers", `{"groups": {"group:admins": []}, "tagOwners": {"tag:subnet-router": []}, "acls": [],
			"autoApprovers": {"exitNode": ["group:admins"], "routes": {"10.0.0.0/16": ["tag:subnet-router"]}}}`},
		{"ssh with comments", `{"groups": {"group:on-call": [], "group:engineers": []}, "tagOwners": {"tag:prod": [], "tag:staging": []}, "acls": [],
			"ssh": [ // On-call gets root only with re-auth in last 5 minutes
			{"action": "check", "src": ["group:on-call"], "dst": ["tag:prod"], "users": ["root"], "checkPeriod": "5m"},
			// Engineers get their own user, no re-auth required
			{"action": "accept", "src": ["group:engineers"], "dst": ["tag:staging"], "users": ["autogroup:nonroot"]} ]}`},
		{"protocols", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*", "icmp:*", "sctp:9", "gre:*", "99:*", "TCP:1,2-3"]}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.text); err != nil {
				t.Error(err)
			}
		})
	}
}

// evenAddrs lists every second address, so that none makes a range with another.
func evenAddrs(n int) string {
	var sb strings.Builder
	for i := range n {
		fmt.Fprintf(&sb, `"10.0.%d.%d",`, i>>7, i<<1&255)
	}
	return sb.String()
}

// chain has IP sets of which each is in the one before.
func chain(n int) string {
	var sb strings.Builder
	for i := range n {
		fmt.Fprintf(&sb, `"ipset:%06d": ["ipset:%06d"],`, i, i+1)
	}
	return sb.String() + fmt.Sprintf(`"ipset:%06d": ["10.0.0.1"]`, n)
}

// TestHostile feeds texts that would cost much more than their size.
func TestHostile(t *testing.T) {
	repeat := func(n int, format string) string {
		var sb strings.Builder
		for i := range n {
			fmt.Fprintf(&sb, format, i)
		}
		return sb.String()
	}
	logins := repeat(15_000, `"user%d@example.com",`)
	for _, tt := range []struct{ name, text, want string }{
		{"too long", strings.Repeat(" ", source.MaxText+1), "bytes; at most"},
		{"deep", strings.Repeat("[", 1_000_000), "nested more than"},
		{"deep after a string", `{"a": "\"[[[", "b": ` + strings.Repeat("[", 100), "nested more than"},
		{"unclosed comment", "/*" + strings.Repeat("[", 100), "syntax"},
		{"values", "[" + strings.Repeat("0,", 2*source.MaxValues), "values"},
		{"groups", `{"groups": {` + repeat(100_000, `"group:g%d": [],`) + "}}", "groups; at most"},
		{"hosts", `{"hosts": {` + repeat(20_000, `"h%d": "10.0.0.1",`) + "}}", "hosts; at most"},
		{"tags", `{"tagOwners": {` + repeat(20_000, `"tag:t%d": [],`) + "}}", "tags; at most"},
		{"rules", `{"acls": [` + repeat(maxRules+1, `{"action": "accept", "dst": ["*:%d"]},`) + "]}", "rules; at most"},
		{"entries", `{"acls": [{"action": "accept", "src": [` + strings.Repeat(`"*",`, source.MaxListed+1) + `]}]}`, "entries; at most"},
		{"IP sets", `{"ipsets": {` + repeat(20_000, `"ipset:s%d": [],`) + "}}", "ipsets; at most"},
		{"IP sets of IP sets", `{"ipsets": {"ipset:0": [` + evenAddrs(15_000) + `],` + repeat(9_000, `"ipset:s%d": ["ipset:0"],`) + "}}", "IP sets together are too large"},
		{"IP sets in IP sets", `{"ipsets": {` + chain(5_000) + "}}", "sets are nested more than"},
		{"an IP set in many rules", `{"ipsets": {"ipset:0": [` + evenAddrs(15_000) + `]}, "grants": [` + repeat(100, `{"src": ["ipset:0"], "dst": ["*"], "ip": ["%d"]},`) + "]}", "more than 200000 selectors"},
		{"postures", `{"postures": {` + repeat(2_000, `"posture:p%d": ["node:os IS SET"],`) + "}}", "postures; at most"},
		{
			"big postures in many rules", `{"postures": {"posture:p": [` + strings.Repeat(`"node:os IS SET",`, 10_000) + `]}, "grants": [` +
				repeat(500, `{"src": ["*"], "dst": ["*"], "ip": ["%d"], "srcPosture": ["posture:p"]},`) + "]}", "rules and postures together are too large",
		},
		{"ports", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": [` + repeat(2000, `"%d",`) + `]}]}`, "more than 1024 port ranges"},
		{"unknown tags", `{"tagOwners": {` + repeat(9_000, `"tag:t%d": [],`) + `}, "acls": [{"action": "accept", "src": [` + repeat(source.MaxListed, `"tag:u%d",`) + `]}]}`, "tag not found"},
		{
			"hosts misspelt", `{"hosts": {` + repeat(9_000, `"host-with-a-long-name-%d": "10.0.0.1",`) + `}, "acls": [` +
				repeat(9_000, `{"action": "accept", "src": ["host-with-a-long-nome-%d"], "dst": ["*:1"]},`) + `{}]}`, "is not a valid action",
		},
		{"big groups in many rules", `{"groups": {"group:g": [` + logins + `]}, "acls": [` + repeat(9_000, `{"action": "accept", "src": ["group:g"], "dst": ["*:%d"]},`) + "]}", "too large to compile"},
		{
			"big groups in many tests", `{"groups": {"group:g": [` + logins + `]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}], "tests": [` +
				repeat(9_000, `{"src": "group:g", "accept": ["10.0.0.1:%d"]},`) + "]}", "tests take too long",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %.200v; want %s", err, tt.want)
			}
			var pe *Error
			if errors.As(err, &pe) && len(pe.Diagnostics) > 2*source.MaxDiagnostics {
				t.Errorf("%d diagnostics", len(pe.Diagnostics))
			}
		})
	}
}
