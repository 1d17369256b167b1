package auth

import (
	"errors"
	"fmt"
	"slices"
)

// A SharedSecret is a secret and who shares it. Without identities it is everybody's.
type SharedSecret struct {
	IDs    []Identity
	Secret Secret
}

// Secrets are shared secrets, to be found by the identities of both sides.
type Secrets struct{ all []SharedSecret }

// NewSecrets checks that each secret is one.
func NewSecrets(all ...SharedSecret) (*Secrets, error) {
	if len(all) == 0 {
		return nil, errors.New("shared secrets: there is none")
	}
	s := &Secrets{}
	for i, one := range all {
		if len(one.Secret) == 0 {
			return nil, fmt.Errorf("shared secret %d: it is empty", i+1)
		}
		s.all = append(s.all, SharedSecret{slices.Clone(one.IDs), slices.Clone(one.Secret)})
	}
	return s, nil
}

// Find returns the secret that we, with the identity own, share with a peer: that whose identities match the peer's best;
// among those, that which matches our own best; among those, the first. A secret whose identities are all ours is for any
// peer. Unlike in strongSwan, one that names others beside us is not for a peer that it does not name.
func (s *Secrets) Find(own, peer Identity) (Secret, error) {
	var best *SharedSecret
	var bestPeer, bestOwn Match
	for i := range s.all {
		p, o := s.all[i].match(own, peer)
		if p > bestPeer || p == bestPeer && p > NoMatch && o > bestOwn {
			best, bestPeer, bestOwn = &s.all[i], p, o
		}
	}
	if best == nil {
		return nil, &Refusal{NoSecret, fmt.Sprintf("%s as %s", peer.describe(), own.describe()),
			"identities with a secret: " + s.names(), nil}
	}
	return best.Secret, nil
}

func (s *SharedSecret) match(own, peer Identity) (p, o Match) {
	if len(s.IDs) == 0 {
		return MatchAny, NoMatch
	}
	ours := true
	for _, id := range s.IDs {
		mine := id.Match(own)
		p, o = max(p, id.Match(peer)), max(o, mine)
		ours = ours && mine > MatchAny
	}
	if p == NoMatch && ours {
		p = MatchAny
	}
	return p, o
}

func (s *Secrets) names() string {
	var names []string
	for _, one := range s.all {
		for _, id := range one.IDs {
			if name := id.String(); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return orNothing(names)
}
