# terraform apply -var kind=ecs -var image=IMAGE -var lake_bucket=BUCKET -var 'subnets=["SUBNET"]' -var 'security_groups=["GROUP"]'
#
# The stack is the one of deploy/ecs, deploy/aws-batch or deploy/step-functions, with the permissions that `cwlake iam` prints. Terraform creates it and
# keeps it as it is here; its parameters are explained in the templates.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "kind" {
  description = "ecs: a task a night. aws-batch or step-functions: shards, tried again, and their gather."
  type        = string
  default     = "ecs"
  validation {
    condition     = contains(["ecs", "aws-batch", "step-functions"], var.kind)
    error_message = "kind is ecs, aws-batch or step-functions."
  }
}

variable "name" {
  description = "Name of the stack, of its cluster's tasks and of its job definition."
  type        = string
  default     = "cwlake"
}

variable "image" {
  description = "The program with its configuration in /etc/cwlake/cwlake.toml."
  type        = string
}

variable "lake_bucket" {
  description = "Bucket of the lake."
  type        = string
}

variable "lake_prefix" {
  description = "Prefix of the lake in its bucket, without slashes at its ends."
  type        = string
  default     = "cloudwatch"
}

variable "subnets" {
  description = "Subnets from which AWS can be reached."
  type        = list(string)
}

variable "security_groups" {
  description = "Security groups of the tasks. Nothing needs to come in."
  type        = list(string)
}

variable "parameters" {
  description = "Further parameters of the template, such as Schedule, ReaderRole, Shards or LakeKey."
  type        = map(string)
  default     = {}
}

resource "aws_cloudformation_stack" "cwlake" {
  name          = var.name
  template_body = file("${path.module}/../${var.kind}/template.yaml")
  capabilities  = ["CAPABILITY_IAM"]
  parameters = merge(
    {
      Image          = var.image
      LakeBucket     = var.lake_bucket
      LakePrefix     = var.lake_prefix
      Subnets        = join(",", var.subnets)
      SecurityGroups = join(",", var.security_groups)
    },
    var.parameters,
  )
}

output "task_role" {
  description = "The principal of `cwlake iam --principal`, which reader roles trust."
  value       = aws_cloudformation_stack.cwlake.outputs["TaskRole"]
}
