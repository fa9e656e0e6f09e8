package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func Example() {
	abeja := simulator.New(simulator.Options{}) // in place of https://api.abeja.io
	server := httptest.NewServer(abeja)
	defer server.Close()
	organization, user, token, _ := abeja.Credentials()

	c, err := client.New(client.Config{
		BaseURL:        server.URL,
		OrganizationID: organization,
		Auth:           client.Basic(user, token),
		MaxRetries:     3,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.CloseIdleConnections()

	ctx := context.Background()
	made, err := c.CreateSecret(ctx, client.NewSecret{Name: "db_password", Value: []byte("correct horse")})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.CreateVersion(ctx, made.ID, []byte("battery staple")); err != nil {
		fmt.Println(err)
		return
	}
	secret, err := c.GetSecret(ctx, made.ID, client.ReadOptions{Values: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range secret.Versions {
		fmt.Printf("%s, version %d, %s: %s\n", secret.Name, v.Number, v.Status, v.Value)
	}

	_, err = c.GetSecret(ctx, "1234567890123", client.ReadOptions{})
	fmt.Println(err)
	fmt.Println(errors.Is(err, client.ErrNotFound))

	// Output:
	// db_password, version 1, active: correct horse
	// db_password, version 2, active: battery staple
	// abeja: get secret: status 404: secret 1234567890123 not found
	// true
}
