package kernel

import (
	"strings"
	"testing"
)

// TestPolicyRouting: the rules stand once, also when they stood already; others of ours go, and those of others stay.
func TestPolicyRouting(t *testing.T) {
	ns := namespace(t)
	rules := func(family string) string { return run(t, "ip", "-n", ns, family, "rule", "show") }
	ip(t, ns, "rule add fwmark 7 table 77 priority 1000")
	before := [2]string{rules("-4"), rules("-6")}
	old := PolicyRouting{Namespace: ns, Mark: 7, TableID: 1007}
	if err := old.Install(); err != nil {
		t.Fatal(err)
	}
	p := PolicyRouting{Namespace: ns, Mark: 51820, TableID: 51820}
	for range 2 {
		if err := p.Install(); err != nil {
			t.Fatal(err)
		}
	}
	for _, family := range []string{"-4", "-6"} {
		got := rules(family)
		for _, want := range []string{"32764:\tfrom all lookup main suppress_prefixlength 0 proto 201", "32765:\tnot from all fwmark 0xca6c lookup 51820 proto 201"} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%s: not once %q:\n%s", family, want, got)
			}
		}
		if strings.Contains(got, "1007") {
			t.Errorf("%s: the rule of a former life stays:\n%s", family, got)
		}
	}
	for range 2 {
		if err := p.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if after := [2]string{rules("-4"), rules("-6")}; after != before {
		t.Errorf("left:\n%s\nfound:\n%s", after, before)
	}
}

// TestStrictReversePath: the sysctl of the device or that of all of them.
func TestStrictReversePath(t *testing.T) {
	ns := namespace(t)
	set := func(key, value string) {
		t.Helper()
		run(t, "ip", "netns", "exec", ns, "sysctl", "-w", "net.ipv4.conf."+key+".rp_filter="+value)
	}
	for _, device := range []string{"xda", "db", "xdb"} {
		set(device, "2")
	}
	p := PolicyRouting{Namespace: ns}
	for _, c := range []struct{ all, device, want string }{{"0", "0", ""}, {"0", "1", "da"}, {"1", "0", "da"}, {"1", "2", ""}, {"2", "1", ""}} {
		set("all", c.all)
		set("da", c.device)
		got, err := p.StrictReversePath()
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("all %s, device %s: %q, %v; want %q", c.all, c.device, got, err, c.want)
		}
	}
}
