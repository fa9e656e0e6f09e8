# HashiCorp's Vault with the plugin beside it, for servers that run in containers. (An image of OpenBao has
# other paths and users.) In a clone of the repository, without changes to it:
#
#   docker build --build-arg VERSION=v1.2.3 -t vault-abeja:v1.2.3 .
#
# The plugin is, byte for byte, that of the release: Vault registers it with the checksum of that.

FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
ARG VERSION
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN make release VERSION="$VERSION" TARGETS="$TARGETOS/$TARGETARCH"

FROM hashicorp/vault:1.21.2
ARG VERSION
ARG TARGETOS
ARG TARGETARCH
# Vault runs as the user vault, who may run the plugin and not change it.
COPY --from=build --chown=root:root --chmod=0755 \
    /src/dist/vault-plugin-secrets-abeja_${VERSION}_${TARGETOS}_${TARGETARCH} \
    /usr/local/libexec/vault/vault-plugin-secrets-abeja_${VERSION}
# Whoever mounts a configuration over /vault/config has to name the directory there.
RUN echo 'plugin_directory = "/usr/local/libexec/vault"' >/vault/config/plugin_directory.hcl
