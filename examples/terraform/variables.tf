variable "organization_id" {
  description = "The organization at ABEJA whose secrets the mount shows."
  type        = string
}

variable "user_id" {
  description = "The ABEJA user to whom personal_access_token belongs."
  type        = string
}

variable "personal_access_token" {
  description = "That user's token. Give it as TF_VAR_personal_access_token. Terraform's state will hold it."
  type        = string
  sensitive   = true
}

variable "api_url" {
  description = "Where ABEJA's API answers."
  type        = string
  default     = "https://api.abeja.io"
}
