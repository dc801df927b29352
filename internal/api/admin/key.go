package admin

import (
	"context"
	"slices"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/identity"
	"selvage/internal/netmap"
	"selvage/internal/store"
)

// How long auth keys and API tokens may last.
const (
	MinKeyLife       = time.Hour
	MaxKeyLife       = 90 * 24 * time.Hour
	DefaultKeyLife   = MaxKeyLife
	MinTokenLife     = time.Hour
	MaxTokenLife     = 365 * 24 * time.Hour
	DefaultTokenLife = 90 * 24 * time.Hour

	maxDescription = 200 // bytes
	maxTags        = 100 // of one key
)

func keyOf(v *netmap.View, k *selvage.AuthKey, now time.Time) Key {
	j := Key{
		ID: k.ID, Tags: listed(k.Tags), Reusable: k.Reusable, Ephemeral: k.Ephemeral, Preapproved: k.Preapproved,
		Description: k.Description, Created: k.Created, Expires: k.Expires, Revoked: k.Revoked,
		Used: k.Used, Uses: k.Uses, Usable: k.Usable(now) == nil,
	}
	if u := v.User(k.User); u != nil {
		j.User = u.Login
	}
	return j
}

func listKeys(r *request) (any, error) {
	net, err := r.net(authz.KeyRead)
	if err != nil {
		return nil, err
	}
	v := net.View()
	list := []Key{}
	for _, k := range v.AuthKeys() {
		list = append(list, keyOf(v, k, r.s.now()))
	}
	return list, nil
}

func createKey(r *request) (any, error) {
	net, err := r.net(authz.KeyWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[KeyCreate](r)
	if err != nil {
		return nil, err
	}
	if err := checkDescription(b.Description); err != nil {
		return nil, err
	}
	u, err := r.userOr(net, b.User)
	if err != nil {
		return nil, err
	}
	if err := r.mayMakeKey(net.View(), u, b); err != nil {
		return nil, err
	}
	expires, err := r.life(b.ExpirySeconds, DefaultKeyLife, MinKeyLife, MaxKeyLife)
	if err != nil {
		return nil, err
	}
	text, id, hash := identity.NewAuthKey()
	k := &selvage.AuthKey{
		ID: id, User: u.ID, Hash: hash, Description: b.Description, Reusable: b.Reusable,
		Ephemeral: b.Ephemeral, Preapproved: b.Preapproved, Tags: sortedTags(b.Tags), Expires: expires,
	}
	if len(k.Tags) > 0 && b.User == "" && r.home == nil {
		// A key of the tailnet itself: it stays when some user goes.
		k.User = 0
	}
	if err := net.CreateAuthKey(r.Context(), r.actor, k); err != nil {
		return nil, err
	}
	j := keyOf(net.View(), k, r.s.now())
	j.Key = text
	return j, nil
}

func sortedTags(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return slices.Compact(tags)
}

// mayMakeKey checks whether the actor may make such a key of the user.
func (r *request) mayMakeKey(v *netmap.View, u *selvage.User, b KeyCreate) error {
	if len(b.Tags) > maxTags {
		return selvage.Errorf(selvage.KindInvalid, "a key cannot have more than %d tags", maxTags)
	}
	if u.Suspended {
		return selvage.Errorf(selvage.KindConflict, "user %s is suspended; restore the user first, or choose another one", u.Login)
	}
	if r.actor.User != u.ID {
		if err := authz.AllowOver(r.actor, authz.KeyFor, u.Role); err != nil {
			return err
		}
	}
	if b.Preapproved {
		if err := authz.Allow(r.actor, authz.NodeApprove); err != nil {
			return err
		}
	}
	if err := netmap.CheckTags(v.Policy, b.Tags); err != nil {
		return err
	}
	if r.home == nil {
		return nil
	}
	for _, t := range b.Tags {
		if !v.Policy.OwnsTag(r.actor.User, nil, t) {
			return selvage.Errorf(selvage.KindDenied, "%s does not own %s; have it added to \"tagOwners\" of the policy", r.actor.Name, t)
		}
	}
	return nil
}

func checkDescription(s string) error {
	if len(s) > maxDescription {
		return selvage.Errorf(selvage.KindInvalid, "the description has %d bytes: at most %d", len(s), maxDescription)
	}
	return nil
}

func revokeKey(r *request) (any, error) {
	net, err := r.net(authz.KeyWrite)
	if err != nil {
		return nil, err
	}
	id := selvage.KeyID(r.PathValue("id"))
	if err := net.RevokeAuthKey(r.Context(), r.actor, id); err != nil {
		return nil, err
	}
	v := net.View()
	k := v.AuthKey(id)
	if k == nil {
		return nil, selvage.Errorf(selvage.KindNotFound, "auth key %s is no longer there", id)
	}
	return keyOf(v, k, r.s.now()), nil
}

func tokenOf(v *netmap.View, t *selvage.Token) Token {
	j := Token{ID: t.ID, Description: t.Description, Created: t.Created, Expires: t.Expires}
	if u := v.User(t.User); u != nil {
		j.User = u.Login
	}
	return j
}

// tokens reads the API tokens of a tailnet.
func (r *request) tokens(ctx context.Context, net *netmap.Net) (list []*selvage.Token, err error) {
	err = r.s.opts.DB.Read(ctx, func(tx *store.Tx) error {
		list, err = tx.Tokens(net.ID())
		return err
	})
	return list, err
}

func listTokens(r *request) (any, error) {
	net, err := r.net(authz.TokenRead)
	if err != nil {
		return nil, err
	}
	tokens, err := r.tokens(r.Context(), net)
	if err != nil {
		return nil, err
	}
	list := []Token{}
	for _, t := range tokens {
		list = append(list, tokenOf(net.View(), t))
	}
	return list, nil
}

func createToken(r *request) (any, error) {
	net, err := r.net(authz.TokenWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[TokenCreate](r)
	if err != nil {
		return nil, err
	}
	if err := checkDescription(b.Description); err != nil {
		return nil, err
	}
	u, err := r.userOr(net, b.User)
	if err != nil {
		return nil, err
	}
	if r.actor.User != u.ID {
		if err := authz.AllowOver(r.actor, authz.TokenFor, u.Role); err != nil {
			return nil, err
		}
	}
	expires, err := r.life(b.ExpirySeconds, DefaultTokenLife, MinTokenLife, MaxTokenLife)
	if err != nil {
		return nil, err
	}
	var text string
	var t *selvage.Token
	err = net.Update(r.Context(), r.actor, func(tx *netmap.Tx) (err error) {
		text, t, err = identity.NewToken(tx, tx.Now, u.ID, b.Description, expires)
		return err
	})
	if err != nil {
		return nil, err
	}
	j := tokenOf(net.View(), t)
	j.Token = text
	return j, nil
}

func deleteToken(r *request) (any, error) {
	net, err := r.net(authz.TokenWrite)
	if err != nil {
		return nil, err
	}
	id := selvage.KeyID(r.PathValue("id"))
	return done(), net.Update(r.Context(), r.actor, func(tx *netmap.Tx) error {
		tokens, err := tx.Store().Tokens(net.ID())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(tokens, func(t *selvage.Token) bool { return t.ID == id })
		if i < 0 {
			return selvage.Errorf(selvage.KindNotFound, "no API token %q; `selvage token list` shows them", id)
		}
		return identity.DeleteToken(tx, tokens[i])
	})
}
