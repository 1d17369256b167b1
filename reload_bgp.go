package warren

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
)

// leaveNeighbors ends the sessions with neighbours that are gone, that are others, or whose tunnel is to be another, while they can
// still be told.
func (r *reload) leaveNeighbors() {
	for _, v := range r.vrfs {
		if v.speaker == nil {
			continue
		}
		v.bgp = r.vrfConfig(v).BGP
		wanted := map[string]*adjacency{}
		for _, a := range r.adjacenciesAfter(v) {
			wanted[a.neighbor.Name] = a
		}
		var stay []*bgp.Neighbor
		for name, a := range v.adjacencies {
			if is := wanted[name]; is != nil && is.tunnel == a.tunnel && reflect.DeepEqual(is.neighbor, a.neighbor) {
				stay = append(stay, a.neighbor)
				continue
			}
			if a.bfd != nil {
				v.watch.Load().unwatch(a.neighbor.Address)
			}
			v.router.RemoveNeighbor(name)
			delete(v.adjacencies, name)
		}
		r.fail(v.speaker.Apply(stay))
		ctx, cancel := context.WithTimeout(context.Background(), partingTime)
		v.speaker.Parted(ctx)
		cancel()
	}
}

// partingTime bounds how long neighbours are told that they are such no more, before their tunnels go.
const partingTime = time.Second

// adjacenciesAfter are those that a vrf will have with the tunnels that stay.
func (r *reload) adjacenciesAfter(v *vrf) []*adjacency {
	return slices.DeleteFunc(r.adjacenciesOf(v), func(a *adjacency) bool { return a.tunnel != nil && r.gone[a.tunnel.cfg.Name] })
}

// meetNeighbors begins sessions with those that are new, and has the policies of the others be what they are to be.
func (r *reload) meetNeighbors() {
	for _, v := range r.vrfs {
		if v.speaker == nil {
			continue
		}
		var neighbors []*bgp.Neighbor
		refresh := map[string]*bgp.Neighbor{}
		for _, a := range r.adjacenciesOf(v) {
			name := a.neighbor.Name
			was := v.adjacencies[name]
			if was == nil {
				if err := r.enter(v, a); err != nil {
					r.fail(fmt.Errorf("vrf %q: neighbor %s: %w", v.name, name, err))
					continue // the next reload tries it again
				}
			} else if err := r.alter(v, was, a); err != nil {
				r.fail(fmt.Errorf("vrf %q: neighbor %s: %w", v.name, name, err))
			}
			v.adjacencies[name] = a
			neighbors = append(neighbors, a.neighbor)
			if was != nil && !reflect.DeepEqual(was.imports, a.imports) {
				refresh[name] = a.neighbor
			}
		}
		if err := v.speaker.Apply(neighbors); err != nil {
			r.fail(fmt.Errorf("vrf %q: BGP: %w", v.name, err))
		}
		for name, n := range refresh {
			r.refresh(v, name, n)
		}
	}
}

// alter changes the policies of a neighbour whose session goes on, and how BFD watches it. What fails is in is as it was, and so still is.
func (r *reload) alter(v *vrf, was, is *adjacency) (err error) {
	w := v.watch.Load()
	switch {
	case was.bfd == nil && is.bfd == nil:
	case was.bfd == nil:
		err = r.watchNeighbor(v, is)
	case is.bfd == nil:
		w.unwatch(is.neighbor.Address)
	case *was.bfd != *is.bfd:
		err = w.manager.Set(is.neighbor.Address, is.bfd.session())
	}
	if err != nil {
		is.bfd = was.bfd
	}
	if reflect.DeepEqual(was.imports, is.imports) && reflect.DeepEqual(was.exports, is.exports) {
		return err
	}
	if failed := v.router.SetNeighbor(is.router(v)); failed != nil {
		is.imports, is.exports, is.in, is.out = was.imports, was.exports, was.in, was.out
		err = errors.Join(err, failed)
	}
	return err
}

// refresh asks a neighbour to say all again, for the new import policy. One that cannot (RFC 2918) is spoken to anew.
func (r *reload) refresh(v *vrf, name string, n *bgp.Neighbor) {
	established := false
	for _, st := range v.speaker.Status() {
		established = established || st.Name == name && st.State == bgp.Established
	}
	if !established {
		return // it will say all
	}
	for _, f := range []message.Family{message.IPv4Unicast, message.IPv6Unicast} {
		if !n.Families.Has(f) {
			continue
		}
		if err := v.speaker.Refresh(name, f); err != nil {
			r.log.Info("session is begun anew, for the import policy", "vrf", v.name, "neighbor", name, "reason", err)
			r.fail(v.speaker.Reset(name, "import policy changed"))
			return
		}
	}
}

// exchange has the kernel told, and learned from, what the policies say now.
func (r *reload) exchange() {
	for _, v := range r.vrfs {
		was, is := r.old.vrfConfig(v.name).Kernel, r.vrfConfig(v).Kernel
		if reflect.DeepEqual(was, is) {
			continue
		}
		if is == nil {
			is = new(KernelConfig)
		}
		err := r.inKernel(v, func(t *kernelTable) error {
			t.table.SetKeep(is.Keep)
			t.join(v, is.side(v, t))
			return nil
		})
		if err != nil {
			r.unexchanged[v.name] = true
			r.fail(fmt.Errorf("vrf %q: %w", v.name, err))
		}
	}
}
