package selvage

import "time"

// Role is what a user may do to the tailnet, beside using their own devices.
type Role string

// The roles, from the most to the least powerful; the names are those of the API.
const (
	RoleOwner        Role = "owner"
	RoleAdmin        Role = "admin"
	RoleNetworkAdmin Role = "network-admin"
	RoleITAdmin      Role = "it-admin"
	RoleBillingAdmin Role = "billing-admin"
	RoleAuditor      Role = "auditor"
	RoleMember       Role = "member"
)

// Roles lists all roles.
func Roles() []Role {
	return []Role{RoleOwner, RoleAdmin, RoleNetworkAdmin, RoleITAdmin, RoleBillingAdmin, RoleAuditor, RoleMember}
}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", Errorf(KindInvalid, "unknown role %q: want one of owner, admin, network-admin, it-admin, billing-admin, auditor, member", s)
}

// User is a person in a tailnet.
type User struct {
	ID      UserID    `json:"id"`
	Tailnet TailnetID `json:"tailnet"`
	// Login is the name that policies use, unique in the tailnet without regard
	// to case: an e-mail address, or a plain name.
	Login       string    `json:"login"`
	DisplayName string    `json:"displayName,omitempty"`
	PictureURL  string    `json:"pictureURL,omitempty"`
	Role        Role      `json:"role"`
	Created     time.Time `json:"created"`
	// Pending is set until the person has signed in for the first time.
	Pending bool `json:"pending,omitempty"`
	// Suspended users may not sign in or add devices.
	Suspended bool `json:"suspended,omitempty"`
}

// Name returns the display name, or the login where there is none.
func (u *User) Name() string {
	if u.DisplayName != "" {
		return u.DisplayName
	}
	return u.Login
}
