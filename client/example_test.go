package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"golang.org/x/time/rate"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// connect makes a client from the environment.
func connect() *client.Client {
	c, err := client.New(client.Config{
		BaseURL:        os.Getenv("ABEJA_API_URL"),
		OrganizationID: os.Getenv("ABEJA_ORGANIZATION_ID"),
		Auth:           client.Basic(os.Getenv("ABEJA_PLATFORM_USER_ID"), os.Getenv("ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN")),
		MaxRetries:     3,
	})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// find returns the secret with a name, without values.
func find(ctx context.Context, c *client.Client, name string) *client.Secret {
	for offset := 0; ; offset += client.MaxPage {
		page, err := c.ListSecrets(ctx, client.ListOptions{Offset: offset})
		if err != nil {
			log.Fatal(err)
		}
		for _, secret := range page.Secrets {
			if secret.Name == name {
				return &secret
			}
		}
		if !page.HasNext {
			log.Fatalf("there is no secret %s", name)
		}
	}
}

// Read a secret by its name. ABEJA finds secrets by id, so look for the name in the list. The current
// value is that of the newest active version.
func Example() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret, err := c.GetSecret(ctx, find(ctx, c, "db_password").ID, client.ReadOptions{Values: true})
	if err != nil {
		log.Fatal(err)
	}
	var current client.Version
	for _, version := range secret.Versions {
		if version.Status == client.Active && version.Number > current.Number {
			current = version
		}
	}
	fmt.Printf("%s has the value %s since version %d\n", secret.Name, current.Value, current.Number)
	// Output: db_password has the value second since version 2
}

// Make a client for a user with a personal access token, and see whether ABEJA accepts them.
func ExampleNew() {
	c, err := client.New(client.Config{
		BaseURL:        os.Getenv("ABEJA_API_URL"), // https://api.abeja.io if it is not set
		OrganizationID: os.Getenv("ABEJA_ORGANIZATION_ID"),
		Auth:           client.Basic(os.Getenv("ABEJA_PLATFORM_USER_ID"), os.Getenv("ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN")),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseIdleConnections()

	_, err = c.ListSecrets(context.Background(), client.ListOptions{Limit: 1})
	fmt.Println("refused:", errors.Is(err, client.ErrUnauthorized))
	// Output: refused: false
}

// Make a client with an auth token in place of a user.
func ExampleBearer() {
	c, err := client.New(client.Config{
		BaseURL:        os.Getenv("ABEJA_API_URL"),
		OrganizationID: os.Getenv("ABEJA_ORGANIZATION_ID"),
		Auth:           client.Bearer(os.Getenv("PLATFORM_AUTH_TOKEN")),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseIdleConnections()

	_, err = c.ListSecrets(context.Background(), client.ListOptions{Limit: 1})
	fmt.Println("refused:", errors.Is(err, client.ErrUnauthorized))
	// Output: refused: false
}

// Ask ABEJA at most 20 times a second. Try a call up to 5 times more, for 10 seconds in all.
func ExampleConfig() {
	c, err := client.New(client.Config{
		BaseURL:        os.Getenv("ABEJA_API_URL"),
		OrganizationID: os.Getenv("ABEJA_ORGANIZATION_ID"),
		Auth:           client.Bearer(os.Getenv("PLATFORM_AUTH_TOKEN")),
		Timeout:        10 * time.Second,
		MaxRetries:     5,
		Limiter:        rate.NewLimiter(20, 20),
		Observe: func(a client.Attempt) {
			fmt.Printf("%s, attempt %d: status %d\n", a.Op, a.Number, a.Status)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseIdleConnections()

	if _, err := c.ListSecrets(context.Background(), client.ListOptions{}); err != nil {
		log.Fatal(err)
	}
	// Output: list_secrets, attempt 1: status 200
}

// List all names. A secret that somebody deletes between two pages moves the others, and one may be missed.
func ExampleClient_ListSecrets() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	for offset := 0; ; offset += client.MaxPage {
		page, err := c.ListSecrets(ctx, client.ListOptions{Offset: offset})
		if err != nil {
			log.Fatal(err)
		}
		for _, secret := range page.Secrets {
			fmt.Println(secret.Name)
		}
		if !page.HasNext {
			break
		}
	}
	// Output:
	// api_key
	// db_password
	// mail_password
	// queue_password
}

// Read all versions of a secret with their values. They come in no order that may be relied on.
func ExampleClient_GetSecret() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret, err := c.GetSecret(ctx, find(ctx, c, "db_password").ID, client.ReadOptions{Values: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, version := range secret.Versions {
		fmt.Printf("version %d, %s: %s\n", version.Number, version.Status, version.Value)
	}
	// Unordered output:
	// version 1, active: first
	// version 2, active: second
}

// Read the value of one version.
func ExampleClient_GetVersion() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret := find(ctx, c, "db_password")
	page, err := c.ListVersions(ctx, secret.ID, client.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, version := range page.Versions {
		if version.Number == 1 {
			first, err := c.GetVersion(ctx, secret.ID, version.ID, client.ReadOptions{Values: true})
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("%s\n", first.Value)
		}
	}
	// Output: first
}

// List a secret's versions, which needs no values.
func ExampleClient_ListVersions() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	page, err := c.ListVersions(ctx, find(ctx, c, "db_password").ID, client.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, version := range page.Versions {
		fmt.Println(version.Number, version.Status)
	}
	// Unordered output:
	// 1 active
	// 2 active
}

// Create a secret.
func ExampleClient_CreateSecret() {
	c := connect()
	defer c.CloseIdleConnections()

	expires := time.Date(2099, time.December, 31, 0, 0, 0, 0, time.UTC)
	secret, err := c.CreateSecret(context.Background(), client.NewSecret{
		Name:         "sms_key",
		Value:        []byte("first"),
		SecretUpdate: client.SecretUpdate{Description: new("of the gateway"), ExpiredAt: &expires},
	})
	switch {
	case errors.Is(err, client.ErrConflict):
		fmt.Println("somebody else has created it")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(secret.Name, secret.Description, secret.ExpiredAt)
	}
	// Output: sms_key of the gateway 2099-12-31 00:00:00 +0000 UTC
}

// Give a secret a new value.
func ExampleClient_CreateVersion() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	version, err := c.CreateVersion(ctx, find(ctx, c, "api_key").ID, []byte("third"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", version.Number)
	// Output: version 3
}

// Change the description and take the expiry away. What is nil stays as it is.
func ExampleClient_UpdateSecret() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret, err := c.UpdateSecret(ctx, find(ctx, c, "db_password").ID, client.SecretUpdate{
		Description: new("of all orders"),
		ExpiredAt:   &time.Time{},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(secret.Description)
	fmt.Println("never expires:", secret.ExpiredAt.IsZero())
	// Output:
	// of all orders
	// never expires: true
}

// Go back to the version before: make the newest one inactive.
func ExampleClient_UpdateVersion() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret := find(ctx, c, "mail_password")
	page, err := c.ListVersions(ctx, secret.ID, client.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	var newest client.Version
	for _, version := range page.Versions {
		if version.Number > newest.Number {
			newest = version
		}
	}
	version, err := c.UpdateVersion(ctx, secret.ID, newest.ID, client.Inactive)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("version %d is %s\n", version.Number, version.Status)
	// Output: version 2 is inactive
}

// Delete a version for good.
func ExampleClient_DeleteVersion() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret := find(ctx, c, "api_key")
	page, err := c.ListVersions(ctx, secret.ID, client.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, version := range page.Versions {
		if version.Number == 1 {
			fmt.Println(c.DeleteVersion(ctx, secret.ID, version.ID))
		}
	}
	// Output: <nil>
}

// Delete a secret with all its versions. When it is gone already, that is as good.
func ExampleClient_DeleteSecret() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	secret := find(ctx, c, "mail_password")
	for range 2 {
		err := c.DeleteSecret(ctx, secret.ID)
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			log.Fatal(err)
		}
	}
	fmt.Println("deleted")
	// Output: deleted
}

// Tell errors apart.
func ExampleError() {
	c := connect()
	defer c.CloseIdleConnections()

	_, err := c.GetSecret(context.Background(), "1234567890123", client.ReadOptions{})
	switch {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("no such secret:", err)
	case errors.Is(err, client.ErrUnauthorized):
		fmt.Println("check the user and the token:", err)
	case errors.Is(err, client.ErrRateLimited), errors.Is(err, client.ErrTimeout), errors.Is(err, client.ErrUnavailable):
		fmt.Println("try again later:", err)
	case err != nil:
		log.Fatal(err)
	}
	// Output: no such secret: abeja: get secret: status 404: secret 1234567890123 not found
}

// Look before you repeat a write whose answer was lost: ABEJA may have done it.
func ExampleError_OutcomeUnknown() {
	ctx := context.Background()
	c := connect()
	defer c.CloseIdleConnections()

	id, value := find(ctx, c, "queue_password").ID, []byte("third")
	_, err := c.CreateVersion(ctx, id, value)
	var failed *client.Error
	if errors.As(err, &failed) && failed.OutcomeUnknown() {
		fmt.Println(err)
		secret, err := c.GetSecret(ctx, id, client.ReadOptions{Values: true})
		if err != nil {
			log.Fatal(err)
		}
		for _, version := range secret.Versions {
			if bytes.Equal(version.Value, value) {
				fmt.Println("it is version", version.Number)
			}
		}
	}
	// Output:
	// abeja: create version: status 502 Bad Gateway
	// it is version 3
}
