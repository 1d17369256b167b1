package warren

import (
	"strings"

	"github.com/warrenvpn/warren/routing/policy"
)

// PolicyConfig says which routes go from one place to another: a word, all or none, or rules in order.
type PolicyConfig struct {
	Word  string
	Rules []policy.Rule
}

// compile makes the policy. A checked configuration has no mistakes.
func (c *PolicyConfig) compile(o policy.Options) (*policy.Policy, []policy.Mistake) {
	if c.Word == "" {
		return policy.Compile(c.Rules, o)
	}
	p, err := policy.Parse(c.Word)
	if err != nil {
		return nil, []policy.Mistake{{Index: -1, Problem: err.Error()}}
	}
	return p, nil
}

// policy reads a policy.
func (d *decoder) policy(n *node, path keyPath) (*PolicyConfig, bool) {
	switch n.kind {
	case scalar:
		if _, err := policy.Parse(n.text); err != nil {
			d.fail(n, path, "all, none, or a list of rules", "%q is no policy", n.text)
			return nil, false
		}
		return &PolicyConfig{Word: n.text}, true
	case list:
		c := new(PolicyConfig)
		for i, item := range d.list(n, path) {
			c.Rules = append(c.Rules, d.policyRule(item, path.index(i)))
		}
		return c, true
	}
	d.fail(n, path, "all, none, or a list of rules: [{from: bgp}, ...]", "%s", describe(n))
	return nil, false
}

func (d *decoder) policyRule(n *node, path keyPath) (r policy.Rule) {
	d.object(n, path, "policy", fields{
		"from":           set(&r.From, d.text),
		"device":         set(&r.Device, d.text),
		"protocol":       set(&r.Protocol, d.text),
		"prefixes":       listOf(d, &r.Prefixes, d.text),
		"community":      set(&r.Community, d.text),
		"as_path_length": set(&r.ASPathLength, d.text),
		"neighbor":       set(&r.Neighbor, d.text),
		"reject":         set(&r.Reject, d.boolean),
		"set":            func(n *node, path keyPath) { d.policySet(n, path, &r.Set) },
	})
	return r
}

func (d *decoder) policySet(n *node, path keyPath, s *policy.Set) {
	value := func(into **uint32) func(*node, keyPath) {
		return set(into, func(n *node, path keyPath) (*uint32, bool) {
			v, ok := number[uint32](d, 0, 1<<32-1)(n, path)
			return &v, ok
		})
	}
	d.object(n, path, "policy.set", fields{
		"preference":    value(&s.Preference),
		"metric":        value(&s.Metric),
		"med":           value(&s.MED),
		"local_pref":    value(&s.LocalPref),
		"next_hop_self": set(&s.NextHopSelf, d.boolean),
		"prepend":       set(&s.Prepend, number(d, 0, policy.MaxPrepend)),
		"community": func(n *node, path keyPath) {
			d.object(n, path, "policy.set.community", fields{
				"add":    listOf(d, &s.AddCommunities, d.text),
				"remove": listOf(d, &s.RemoveCommunities, d.text),
			})
		},
	})
}

// policy checks one, nil for none.
func (k *checker) policy(path keyPath, c *PolicyConfig, o policy.Options) {
	if c == nil {
		return
	}
	_, mistakes := c.compile(o)
	for _, m := range mistakes {
		at := path
		if c.Word == "" {
			at = at.index(m.Rule)
		}
		if m.Key != "" {
			at = at.to(strings.Split(m.Key, ".")...)
		}
		if m.Index >= 0 {
			at = at.index(m.Index)
		}
		k.fail(at, "", "%s", m.Problem)
	}
}
