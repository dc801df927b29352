package server

import (
	"context"
	"fmt"
	"time"

	"selvage"
	"selvage/internal/identity"
	"selvage/internal/netmap"
)

// OwnerLink makes a one-time link that signs the tailnet's owner in.
func (s *Server) OwnerLink(ctx context.Context, n *netmap.Net) (string, error) {
	owner := n.View().Owner()
	if owner == nil {
		return "", selvage.Errorf(selvage.KindNotFound, "tailnet %s has no owner", n.View().Tailnet.Name)
	}
	return s.link(ctx, selvage.System(), n, owner.ID)
}

// link makes a one-time sign-in link for a user.
func (s *Server) link(ctx context.Context, actor selvage.Actor, n *netmap.Net, user selvage.UserID) (string, error) {
	var secret string
	err := n.Update(ctx, actor, func(tx *netmap.Tx) (err error) {
		secret, _, err = identity.NewLink(tx, time.Now(), user)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make sign-in link: %w", err)
	}
	return s.URL() + "/welcome/" + secret, nil
}

// FirstOwnerLinks returns a sign-in link for each tailnet whose owner has not signed
// in yet, by name.
func (s *Server) FirstOwnerLinks(ctx context.Context) (map[string]string, error) {
	links := map[string]string{}
	for _, n := range s.hub.Nets() {
		v := n.View()
		if owner := v.Owner(); owner == nil || !owner.Pending {
			continue
		}
		link, err := s.OwnerLink(ctx, n)
		if err != nil {
			return nil, err
		}
		links[v.Tailnet.Name] = link
	}
	return links, nil
}
