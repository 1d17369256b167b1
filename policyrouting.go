package warren

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/warrenvpn/warren/routing/kernel"
)

// lookupBefore is how long the names of peers may be looked up before the rules of policy routing stand: from then on the system's
// resolver, if it is one that does not bear our mark, goes through the tunnels, which need the names.
const lookupBefore = 5 * time.Second

// openPolicyRouting leads the namespaces of the vrfs that want it to our tables, when everything else stands.
func (s *site) openPolicyRouting() error {
	for i := range s.cfg.VRFs {
		v := &s.cfg.VRFs[i]
		if v.Kernel == nil || v.Kernel.PolicyRouting == 0 || v.Port.TUN == nil {
			continue
		}
		s.policies = append(s.policies, kernel.PolicyRouting{Namespace: v.Port.TUN.NetNS, Mark: v.Kernel.PolicyRouting, TableID: v.Kernel.table(),
			Protocol: v.Kernel.Protocol})
	}
	if len(s.policies) == 0 {
		return nil
	}
	s.lookUpFirst()
	for _, p := range s.policies {
		if err := p.Install(); err != nil {
			return errors.Join(err, s.closePolicyRouting())
		}
		if strict, err := p.StrictReversePath(); err == nil && len(strict) > 0 {
			s.log.Warn("packets from peers are refused where net.ipv4.conf.*.rp_filter is 1, since they bear no mark: set it to 2", "devices", strict)
		}
	}
	return nil
}

// closePolicyRouting takes the rules away.
func (s *site) closePolicyRouting() (err error) {
	for _, p := range s.policies {
		err = errors.Join(err, p.Remove())
	}
	return err
}

// lookUpFirst looks up the names of all peers once. What is not found is looked up again later.
func (s *site) lookUpFirst() {
	ctx, cancel := context.WithTimeout(context.Background(), lookupBefore)
	defer cancel()
	var all sync.WaitGroup
	for _, d := range s.wireguard {
		for _, t := range d.tunnels() {
			if now := time.Now(); t.lookUpDue(now) {
				all.Go(func() { d.lookUp(ctx, t, now) })
			}
		}
	}
	all.Wait()
}
