package netmap_test

import (
	"testing"

	"selvage"
)

// A suspended user's auth keys admit nobody, also those that give tags.
func TestKeysOfASuspendedUser(t *testing.T) {
	_, n, alice := setup(t)
	for _, tt := range []struct {
		name string
		key  selvage.AuthKey
	}{
		{"a key for devices of the user", selvage.AuthKey{User: alice.ID, Reusable: true}},
		{"a key for tagged devices", selvage.AuthKey{User: alice.ID, Reusable: true, Tags: []string{"tag:db"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			suspend := func(yes bool) {
				t.Helper()
				err := n.UpdateUser(t.Context(), selvage.Local(), alice.ID, func(u *selvage.User) { u.Suspended = yes })
				if err != nil {
					t.Fatal(err)
				}
			}
			id := authKey(t, n, tt.key)
			suspend(true)
			j := device("late")
			j.AuthKey = id
			_, err := n.Join(t.Context(), selvage.System(), j)
			wantError(t, err, selvage.KindDenied, "may not add devices", string(id))
			suspend(false)
			mustJoin(t, n, j)
		})
	}
}
