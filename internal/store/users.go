package store

import (
	"database/sql"
	"fmt"
	"strings"

	"selvage"
)

const userColumns = "id, tailnet, login, display_name, picture_url, role, created, pending, suspended"

// Users returns the users of a tailnet by ID.
func (tx *Tx) Users(tailnet selvage.TailnetID) ([]*selvage.User, error) {
	list, err := all(tx, scanUser, "SELECT "+userColumns+" FROM users WHERE tailnet = $1 ORDER BY id", int64(tailnet))
	if err != nil {
		return nil, fmt.Errorf("read users of tailnet %d: %w", tailnet, err)
	}
	return list, nil
}

func scanUser(rows *sql.Rows) (*selvage.User, error) {
	var u selvage.User
	var created int64
	err := rows.Scan(&u.ID, &u.Tailnet, &u.Login, &u.DisplayName, &u.PictureURL, &u.Role, &created, &u.Pending, &u.Suspended)
	u.Created = timeOf(created)
	return &u, err
}

// PutUser saves a user, new or changed. The ID is from NextID. An error of
// KindConflict says that the login is taken, in whatever case it is written.
func (tx *Tx) PutUser(u *selvage.User) error {
	if u.ID <= 0 {
		return fmt.Errorf("save user %q: its ID is %d: want one from NextID", u.Login, u.ID)
	}
	_, err := tx.exec(`INSERT INTO users (`+userColumns+`, login_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO UPDATE SET tailnet = excluded.tailnet, login = excluded.login, display_name = excluded.display_name,
picture_url = excluded.picture_url, role = excluded.role, created = excluded.created, pending = excluded.pending,
suspended = excluded.suspended, login_key = excluded.login_key`,
		int64(u.ID), int64(u.Tailnet), u.Login, u.DisplayName, u.PictureURL, string(u.Role), nanos(u.Created), u.Pending, u.Suspended,
		// Not lower() of the database: SQLite knows ASCII only.
		strings.ToLower(u.Login))
	if err != nil {
		return fmt.Errorf("save user %d: %w", u.ID, err)
	}
	return nil
}

// DeleteUser removes a user with what lets the user in: tokens, one-time links and
// sessions. Devices and auth keys stay; what becomes of them is not a question of
// storage. It returns an error of KindNotFound if there is no such user.
func (tx *Tx) DeleteUser(id selvage.UserID) error {
	for _, query := range []string{
		"DELETE FROM tokens WHERE user_id = $1",
		"DELETE FROM links WHERE user_id = $1",
		"DELETE FROM sessions WHERE user_id = $1",
	} {
		if _, err := tx.exec(query, int64(id)); err != nil {
			return fmt.Errorf("delete user %d: %w", id, err)
		}
	}
	return tx.remove(fmt.Sprintf("user %d", id), "DELETE FROM users WHERE id = $1", int64(id))
}
