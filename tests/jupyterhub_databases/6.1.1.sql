BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('f460b0348206');
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:11eed751554cf95a:771391289b7ff22760870843d6799391f30449ca1193db25d8ad5a0f219aec6193bf30a1d47669fce1202f035b76f426aabac3abc9adf45ba1bac2d9eca74f64','toke','jupyterhub',NULL,'2026-12-01 03:51:53.974265',NULL,'2026-12-01 03:52:08.865991','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:2941394cdf9c23ca:32bd25438d5ae452c1ea3ca9024b6aab126ffcb38b3f8b86dea2b487f09ce9b92a7a2f07c5f16577b2c778bfdcf593c091ae008e778ffc436aca947030b8606b','toke','jupyterhub',NULL,'2026-12-01 03:51:54.010109',NULL,'2026-12-01 03:52:09.096566','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,3,3,'sha512:16384:2ef835cbec4170a8:d4d3e11e021b597278b4362d0417edb7e8b1af11d324af2f182870e8c232eddf491bb3edca177af15f35f3151ca255eee96d7708535d0b3f6f752e9e42efd558','toke','jupyterhub',NULL,'2026-12-01 03:51:54.058648',NULL,'2026-12-01 03:52:08.963186','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(4,NULL,4,'sha512:16384:cec4e9fec60d7361:8daa5af23100f1b65bbea2ae670edb54faeebf2998386ac281214aa781953722099b58c7da14fe1fa326aa196a07c04bf2959c35b41ebb6dd4fc2a6a9a19c425','toke','jupyterhub',NULL,'2026-12-01 03:51:54.176052',NULL,'2026-12-01 03:52:08.282798','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:16384:2f7efe1748bc1fed:781e8ff6801a4589228186c265bcefb12b7c915bc0a32f930c940994af521b4e8f94b6f6da971d18e22ceb91e3722b80910eb445e08781dba34181dfb6bcd356','toke','jupyterhub',NULL,'2026-12-01 03:51:54.235778',NULL,'2026-12-01 03:52:08.450280','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,6,'sha512:16384:af80b52d91d0cdc4:53cd153e35c3a45cae16777ef8f48f5752a2b09b420855fafaa9ce2aaf0ebf7978c00183666d069f392287b30ca3b3f5e261d3df0cbb054db798b7fcf0612bc5','toke','jupyterhub',NULL,'2026-12-01 03:51:54.314646',NULL,'2026-12-01 03:52:08.646633','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,7,'sha512:16384:c05b360b4358dad7:16cddb824d5921bef68e1d6f1527fea2d993b7ea9a388df0ca6ccef4b596b5bd63d420699b21b61df08ce308508e23224b2e197b7c76bb029776461de9fa8dcd','toke','jupyterhub',NULL,'2026-12-01 03:51:57.917428',NULL,'2026-12-01 03:52:09.226456','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(1,NULL,8,'sha512:1:056eb0f215669378:462df493000ca95491670bb9b4c9e896b10e1d670ead4454def063a32714247ec9ef07544922d60eb987608abb53986e922b3a4b97e50eefdd92ada4eb60570b','7cc9','jupyterhub',NULL,'2026-12-01 03:52:00.934076',NULL,'2026-12-01 03:52:01.400259','command-line generated','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,9,'sha512:1:61d871fcbda127af:8b33dab87e868edce7f1306b5fc24ade8db66902f8e54fa87b453a15ede7917b8c60b501a6378402233b1d9f3a32923504d8c1ad8986254623f8d88ea9d84bed','8e05','jupyterhub',NULL,'2026-12-01 03:52:01.979878',NULL,'2026-12-01 03:52:02.025217','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,10,'sha512:1:9b495f3f3b35c758:b4d2bdcf493e4058496a8d159b9db3fe1fb8243541cf6ed7e63c3b47c788041cd627a5a3f6ac75479e3ea0c51276c554d3d05bad15165207371956857885df1b','4e19','jupyterhub',NULL,'2026-12-01 03:52:01.999867',NULL,'2026-12-01 03:52:06.045304','für den Scanner','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,11,'sha512:1:ac3edb30691e256f:a1baac9ee437fb5f37190d6088c977d625729fa14cd6ed279fa14c6f37696f167ff0257b099be152611977257572a077be56f0beb848b79d165529752ba43ec6','432a','jupyterhub',NULL,'2026-12-01 03:52:02.052916',NULL,'2026-12-01 03:52:06.110800','by herself','["inherit"]');
INSERT INTO "api_tokens" VALUES(7,NULL,12,'sha512:1:a390f242f288b82d:7605ee31c99c0af764f7462bf76ce476334870d2fe24134ee69b8997b2294ef3c95e5fb584673872eb384e8fb6e9ea8abd526ef326608b957be4aaf2408551f8','7f97','jupyterhub',NULL,'2026-12-01 03:52:02.095053','2056-11-23 03:52:02.090391','2026-12-01 03:52:06.218181','a long time','["inherit"]');
INSERT INTO "api_tokens" VALUES(6,NULL,14,'sha512:1:4dff30beb105289a:9a3eb6e496bbe9b7a15ca6819fe0cf63a6a31babb2ddf851ec6a83c29fdc4367fc05be1c046137d34b459561b6471921eb15d0a8e3b5527aec0c38ddc1981a32','af7a','jupyterhub',NULL,'2026-12-01 03:52:02.155410',NULL,'2026-12-01 03:52:06.333746','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(8,NULL,15,'sha512:1:4cfe14c274a1698a:c65f976d3ccb440c9170fa60fe20c0fb6b15445afaae27ae60a994b82173274bc466f670a4bc6f797b04caa527ae0c22f5824cf32875134652da59a52285f0db','5d51','jupyterhub',NULL,'2026-12-01 03:52:02.203146',NULL,'2026-12-01 03:52:06.408976','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(8,NULL,16,'sha512:1:77d3f3d40af93806:43c024d4082294856d94353cfdb8efd3ee5d3ce6ceb0420922d057c67fba9e3352c3be73c03c63bc5f795a018916d1dfda4fd14a6c5e3b812ab735f8a3999bf3','fd89','jupyterhub',NULL,'2026-12-01 03:52:02.281677',NULL,'2026-12-01 03:52:06.483205','without',NULL);
INSERT INTO "api_tokens" VALUES(3,NULL,17,'sha512:1:1eefe316ae44aeb4:1839652c3a86fb77874b6a61253a9b84bf886bf2de8d302a8667fdbd149f1882d8ced7eb1e90450b46144cf95c725db0921107ae65df1423196c8fcd65cf7d72','edbb','jupyterhub',NULL,'2026-12-01 03:52:02.332820',NULL,'2026-12-01 03:52:06.537474','Requested via api by user ada','["servers!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,18,'sha512:1:e679af0ca29ba7f9:e346998aa5eade7d63d3d6657fd2332dac813d2fce317585a37c84ac9046dc67853428cb37d03df9a60c56cf2b4dc22b2b1f1d0eba372aced0b4bc2bb2b5346f','89e6','jupyterhub',NULL,'2026-12-01 03:52:02.368254',NULL,'2026-12-01 03:52:06.617311','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,19,'sha512:1:c833bedb64655d20:2001083c18296bdad03c9283a007f3fb04150f472baf9747dc3191b06af52f6cd52b6e3f633410f81220a984d675514782fab9689afc78cf373233b26268ab8b','70ae','jupyterhub',NULL,'2026-12-01 03:52:02.409406',NULL,'2026-12-01 03:52:06.693958','Requested via api by user ada','["self"]');
INSERT INTO "api_tokens" VALUES(1,NULL,20,'sha512:1:ca9a0ab066d25a8b:5c90ae0cc458966c35468e1251a8dc9813a3d9c1ae7c814b508bdfc1bc6ffedb6dfc63cf3851adf536de18c691e38c1a2dc58dbe868d8dbd390f0dde312af034','e718','jupyterhub',NULL,'2026-12-01 03:52:02.434898',NULL,'2026-12-01 03:52:06.797931','Requested via api','["admin:users!user=carol"]');
INSERT INTO "api_tokens" VALUES(6,NULL,21,'sha512:1:88a4493efe14611a:b3827aa1618244d5a6f001a48ae7cca3a9bd2e96d2ba0598d5d6bbe681e8663ad4ff547f7af143366fb633003a650ed39df4b5ae360ef2eb6d8b509eee98999d','3552','jupyterhub',NULL,'2026-12-01 03:52:02.455596',NULL,'2026-12-01 03:52:06.908649','Requested via api by user ada','["admin:users", "list:users"]');
INSERT INTO "api_tokens" VALUES(5,NULL,22,'sha512:1:6bf3d8608b106ae9:8504d706a86affbb301e0568e849f1e4211e457aeb21796181e3a85bbde674c18e81915b619cb42e7eaae5bf42149582caf1a0064cc61ddf54789fe030841bd8','031f','jupyterhub',NULL,'2026-12-01 03:52:02.475930',NULL,'2026-12-01 03:52:06.968173','Requested via api by user ada','["list:users!group=students"]');
INSERT INTO "api_tokens" VALUES(2,NULL,23,'sha512:1:4bc32f78cdddaa75:06db4fd69aa6b657651d170281b9f95ca22a76494386ad2f8a01fef50c95006c4c54950e2154da3181bfa275d72ea08f92074cceabae82ecb21d66d8803d7d64','bcfa','jupyterhub',NULL,'2026-12-01 03:52:02.505808',NULL,'2026-12-01 03:52:07.093027','Requested via api by user ada','["self", "read:users!group=students"]');
INSERT INTO "api_tokens" VALUES(3,NULL,24,'sha512:1:5eb483c66c64e43e:df59324fcdfcc170a98b4269393286939fbd020bf8c17cc134d2278e2b40f62a54df3be479c6463c181feaff5d83f941b0a46cb01f1e98e02425764ffabdb1e5','3a1e','jupyterhub',NULL,'2026-12-01 03:52:02.540213',NULL,'2026-12-01 03:52:07.194033','Server at /user/carol/','["access:servers!server=carol/", "users:activity!user"]');
INSERT INTO "api_tokens" VALUES(7,NULL,25,'sha512:1:7b3bc7c55fb760a8:af2a34e154acfaa92add715ca457b022ab76fd02407b4b22f05217df7f3e25715661943285039c751cabca4a39827e70dd17f6952d96b20d8fcaa02aad7be5e9','7bb7','jupyterhub',NULL,'2026-12-01 03:52:02.939558',NULL,'2026-12-01 03:52:07.281579','Server at /user/dave/mylab-2/','["access:servers!server=dave/mylab-2", "users:activity!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,26,'sha512:1:d7f8640037dd5106:9cfe9069a5ee48d6b716370799185f14777bc5bcc5be3bd74e9cb4d2b8898becfc7ea10c7959c6d167faabf71f656af8848ced7e1e30932dbdcd33ed8bc7e919','7Wlr','jupyterhub-user-carol','d21381aebd0e4677bf0ecd27bc6fc473','2026-12-01 03:52:03.712518','2026-12-15 03:52:03.711994','2026-12-01 03:52:07.380016','','["access:servers!server=carol/", "read:users:groups!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(1,NULL,27,'sha512:1:f733de1c6afa2e72:76d2d92c0438568d82ad0884260fcaf3e589defd98c58814472a6cce9229fb138fd307c904e3838b75e9f5a42e42de45717203f8c4e7e13c79263e7b1011bdfc','Tzou','jupyterhub-user-carol','2a5391ebcdb64492a08fd6163a68ace6','2026-12-01 03:52:03.811810','2026-12-15 03:52:03.811297','2026-12-01 03:52:07.458063','','["access:servers!server=carol/", "read:users:groups!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(7,NULL,28,'sha512:1:197295c98d598df5:44eebc79699ec1384533d49d471c7f8210a1807d15340db6117a1e63f35ec318c7c779c7d8421025268948bae11cad45433c65f77d00f3838466fd039402c737','tOe3','jupyterhub-user-dave-mylab-2','333a6031546346c69668e2cdf3966a03','2026-12-01 03:52:03.891920','2026-12-15 03:52:03.891333','2026-12-01 03:52:07.545594','','["access:servers!server=dave/mylab-2", "read:users:groups!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,29,'sha512:1:c8a7ebd15e9c9043:568bb52ef64ac2ad4da83bd6da034d6c66e562ea40e56dfbdf01482cabfb3c7bb7399671a286d69778f8b35c4db941f24560ff0006a21edf2bc313cb0940945f','NFWP','service-announce','d21381aebd0e4677bf0ecd27bc6fc473','2026-12-01 03:52:03.958292','2026-12-15 03:52:03.957818','2026-12-01 03:52:07.633013','','["access:services!service=announce", "read:users:groups!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(NULL,4,30,'sha512:16384:504a121b9e989410:b5bac78f51a54db18b9c550ae0f12ca0f4322576ba220512586ea9d80a55e377d2ef8a9e4883bcc72bd2555deabda1dca812e4b61554cda1bd1fcc28d6bd3e61','toke','jupyterhub',NULL,'2026-12-01 03:52:04.197474',NULL,'2026-12-01 03:52:07.741006','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,5,31,'sha512:16384:4868168374aa4171:70c266d033c10f615fad762d25be8befbad8dc620748c3d1ea50005a31a0e50de69211d222d005afc831cf90caf2e95f7feab7b408fb3b0cbc169c7d3e64ee6f','toke','jupyterhub',NULL,'2026-12-01 03:52:04.321689',NULL,'2026-12-01 03:52:08.011377','from config','["inherit"]');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,7,0);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	properties TEXT, 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'students','{"limit": 3, "\u00fc": ["x", null]}');
INSERT INTO "groups" VALUES(2,'Übung 7','{}');
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	allowed_scopes TEXT, 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','','[]');
INSERT INTO "oauth_clients" VALUES(2,'service-announce','JupyterHub service announce','sha512:16384:d2e9e922f5248482:8a72aeb0b0a9acabd30b0d6e86f4815f02766c902e0160b22d46bbe3e6d16c6a92e7dbef6751f04398605aa1dc3f40cb74047911d236bdb79450af73bff0f77a','/services/announce/oauth_callback','["access:services!service=announce"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-carol','Server at /user/carol/','sha512:16384:66d34cc13092933c:0ffab97da201822f17dc456c32ccededa71ecbe338e412391e3722799b8e05f364770916088930ad9659fcca01e68a5628a0a87bc5d2cbdf3d2f44129a1b7969','/user/carol/oauth_callback','["access:servers!server=carol/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-dave-mylab-2','Server at /user/dave/mylab-2/','sha512:16384:6853bdcbd988b9ec:ccdf355a92b01163a73fef18749ea1100fc8848d60890749d30d58f8538fe7ab2b0b6298ccd582235bffb74683f5f828596687bd0f12b0f040cfb4c94e151887','/user/dave/mylab-2/oauth_callback','["access:servers!server=dave/mylab-2"]');
INSERT INTO "oauth_clients" VALUES(5,'service-visited','JupyterHub service visited','sha512:16384:bff8976810b1f63f:e4f5bdb9db843994e4112463c1a248c3216b4df20597cb069be38db2cf239cfbcd4489ba8845e1a34fd1461da688c2809dd1ee8683220f6e5beb971919a15f18','http://127.0.0.1:9/back','["access:services!service=visited"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
	code_challenge VARCHAR(255), 
	code_challenge_method VARCHAR(64), 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'user','Standard user privileges','["self"]',0);
INSERT INTO "roles" VALUES(2,'admin','Elevated privileges (can do anything)','["admin-ui", "admin:users", "admin:servers", "admin:services", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics", "shares"]',0);
INSERT INTO "roles" VALUES(3,'server','Post activity only','["users:activity!user", "access:servers!server"]',0);
INSERT INTO "roles" VALUES(4,'token','Token with same permissions as its owner','["inherit"]',0);
INSERT INTO "roles" VALUES(5,'keeping',NULL,'["list:users", "servers"]',0);
INSERT INTO "roles" VALUES(6,'grading','Sees the students','["list:users!group=students", "read:users!group=students"]',0);
INSERT INTO "roles" VALUES(7,'looking',NULL,'["read:users", "access:services!service=announce"]',0);
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(2,'http','127.0.0.1',39179,'/services/announce/','service-announce');
INSERT INTO "servers" VALUES(3,'http','127.0.0.1',53581,'/user/carol/','cookie');
INSERT INTO "servers" VALUES(4,'http','127.0.0.1',58479,'/user/dave/mylab-2/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(3,5,0);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	url VARCHAR(2047), 
	oauth_client_allowed_scopes TEXT, 
	info TEXT, 
	display BOOLEAN, 
	oauth_no_confirm BOOLEAN, 
	command TEXT, 
	cwd VARCHAR(4095), 
	environment TEXT, 
	user VARCHAR(255), 
	timeout INTEGER NOT NULL, 
	from_config BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'announce',0,'http://127.0.0.1:39179',NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,30,1,2,NULL,'service-announce');
INSERT INTO "services" VALUES(2,'rotated',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,30,1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(3,'keeper',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,30,1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(4,'added',0,NULL,NULL,'{"by": "hand"}',NULL,NULL,NULL,NULL,NULL,NULL,30,0,NULL,NULL,NULL);
INSERT INTO "services" VALUES(5,'visited',0,NULL,NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,30,0,NULL,NULL,'service-visited');
CREATE TABLE share_codes (
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	exchange_count INTEGER, 
	last_exchanged_at DATETIME, 
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	scopes TEXT, 
	expires_at DATETIME, 
	owner_id INTEGER, 
	spawner_id INTEGER, 
	CONSTRAINT pk_share_codes PRIMARY KEY (id), 
	CONSTRAINT uq_share_codes_hashed UNIQUE (hashed), 
	CONSTRAINT fk_share_codes_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_share_codes_spawner_id_spawners FOREIGN KEY(spawner_id) REFERENCES spawners (id) ON DELETE CASCADE
);
INSERT INTO "share_codes" VALUES('sha512:1:ba2c04653ed84393:30cbb07fe407dd04be2b068ece2f3782ddb564c3ebfdf818be0750af3870336f84eabab9e0ba185588f8e4eeb4b3a32ab7e977c4c3cb0b5921eeae5c3cdc6a63','Hmgg',0,NULL,1,'2026-12-01 03:52:04.118519','["access:servers!server=dave/mylab-2"]','2027-12-01 03:52:04.117331',7,9);
CREATE TABLE shares (
	user_id INTEGER, 
	group_id INTEGER, 
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	scopes TEXT, 
	expires_at DATETIME, 
	owner_id INTEGER, 
	spawner_id INTEGER, 
	CONSTRAINT pk_shares PRIMARY KEY (id), 
	CONSTRAINT fk_shares_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_spawner_id_spawners FOREIGN KEY(spawner_id) REFERENCES spawners (id) ON DELETE CASCADE
);
INSERT INTO "shares" VALUES(3,NULL,1,'2026-12-01 03:52:04.040671','["access:servers!server=dave/mylab-2"]',NULL,7,9);
INSERT INTO "shares" VALUES(NULL,1,2,'2026-12-01 03:52:04.062707','["access:servers!server=dave/mylab-2"]',NULL,7,9);
INSERT INTO "shares" VALUES(5,NULL,3,'2026-12-01 03:52:04.097512','["access:servers!server=dave/mylab-2", "read:servers!server=dave/mylab-2"]',NULL,7,9);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	display_name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,1,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(2,6,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,3,3,'{"pid": 21296}','','','2026-12-01 03:52:02.689021','2026-12-01 03:52:02.689021','{"profile": "small"}','jupyterhub-user-carol');
INSERT INTO "spawners" VALUES(4,7,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(5,2,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(6,5,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(7,8,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(8,9,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(9,7,4,'{"pid": 21300}','mylab-2','mylab-2','2026-12-01 03:52:03.016940','2026-12-01 03:52:03.016940','{"image": "gpu", "n": [1]}','jupyterhub-user-dave-mylab-2');
INSERT INTO "spawners" VALUES(10,7,NULL,'{}','rest','rest',NULL,'2026-12-01 03:52:03.607771','{"image": "cpu"}',NULL);
INSERT INTO "spawners" VALUES(11,4,NULL,NULL,'','',NULL,NULL,NULL,NULL);
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
INSERT INTO "user_group_map" VALUES(7,2);
INSERT INTO "user_group_map" VALUES(9,2);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,2,0);
INSERT INTO "user_role_map" VALUES(1,1,0);
INSERT INTO "user_role_map" VALUES(2,1,0);
INSERT INTO "user_role_map" VALUES(3,1,0);
INSERT INTO "user_role_map" VALUES(5,1,0);
INSERT INTO "user_role_map" VALUES(5,6,0);
INSERT INTO "user_role_map" VALUES(6,1,0);
INSERT INTO "user_role_map" VALUES(7,1,0);
INSERT INTO "user_role_map" VALUES(8,1,0);
INSERT INTO "user_role_map" VALUES(9,1,0);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	user_info TEXT, 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'ada',NULL,1,'2026-12-01 03:51:53.610822','2026-12-01 03:52:01.400259','7e0de068d3064156a4500819912a2617',NULL,X'6741414141414272446B526850727833396F6733435A776B5839333034446B55466C456A55774A4835374A7A4450556E77336E7243776C7A596C633165337131555973587641487A38746F75417A6D63574C6E775931314D4C44764E77744C594D497332557052616D363557734B4D505F357A346C70383D');
INSERT INTO "users" VALUES(2,'erin',NULL,0,'2026-12-01 03:51:53.694417','2026-12-01 03:52:07.093027','43bdf81cb9c74934a11935fdb7630ee9',NULL,NULL);
INSERT INTO "users" VALUES(3,'carol',NULL,0,'2026-12-01 03:51:53.735099','2026-12-01 03:52:02.689021','85a4ef83d8db43fbada09c048c08f308','{}',X'6741414141414272446B52686F37564749616F504938656D6379576F754134624D634F48464A75686E4A4A4C5645354E4F4D5A534B6B36746547526A374F66424549456F316132626D42714F35667065484F625A4436795931426D6C6667504D7A33675043525F525A526D38466648674D786848676A453D');
INSERT INTO "users" VALUES(4,'grace',NULL,0,'2026-12-01 03:51:54.129977','2026-12-01 03:52:08.282798','a213aa4a69144026a3096666e08b14e0',NULL,NULL);
INSERT INTO "users" VALUES(5,'heidi',NULL,0,'2026-12-01 03:51:54.412216','2026-12-01 03:52:06.968173','f94e184aebac47ef9c45489acc4954b0',NULL,NULL);
INSERT INTO "users" VALUES(6,'bob',NULL,0,'2026-12-01 03:52:01.473011','2026-12-01 03:52:01.902491','4b48cb1e4dbc4143b0b5914cd6f3dce3',NULL,X'6741414141414272446B526854657A7143566E5F53446F566F34314A57516A5A4939765749705475477A426D306C3731466E4A5546784A58683957447161586544517A45304869536E335233327866704F626A48365063734C45774645614B71496474695862614F44426B7A7279705542784D4355746F3D');
INSERT INTO "users" VALUES(7,'dave',NULL,0,'2026-12-01 03:52:01.542195','2026-12-01 03:52:03.607771','1247ff289348426684ecaa838abe1861','{}',X'6741414141414272446B52687A774F42554F6A7161436C324D666864673876326A324D566A2D5276464345554A69715F51355F4C6A4E687177736F4648764C4938726F3476547A6E4663785A4754774D527A3739454E50512D6B52366165422D765934323968595863636A316B6237576F5773396F51343D');
INSERT INTO "users" VALUES(8,'mallory',NULL,0,'2026-12-01 03:52:01.618326','2026-12-01 03:52:06.408976','8eae37b18aa048a180e3f594ffa66da1',NULL,NULL);
INSERT INTO "users" VALUES(9,'zoë',NULL,0,'2026-12-01 03:52:01.653848',NULL,'c16f1144464d4191b7cb5e0f10e70cf9',NULL,NULL);
CREATE TABLE users_info (
	id INTEGER NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	password BLOB NOT NULL, 
	is_authorized BOOLEAN, 
	login_email_sent BOOLEAN, 
	email VARCHAR(128), 
	has_2fa BOOLEAN, 
	otp_secret VARCHAR(16), 
	CONSTRAINT pk_users_info PRIMARY KEY (id)
);
CREATE INDEX ix_share_codes_prefix ON share_codes (prefix);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
